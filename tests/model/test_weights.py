import json
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from described import description, write_described
from vgg_ablation.errors import StageError
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import Description, read_description, read_weights, write_weights


class Trap:
    """Ends the tests if it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def narrow(seed: int = 0, classes: int = 3, arch: str = "A") -> VGG:
    torch.manual_seed(seed)
    return VGG(arch, classes, input_side=32, width=1 / 16)


NETWORK = narrow()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_described(tmp_path / "weights.safetensors", narrow())
    return tmp_path / "weights.safetensors"


def test_weights_come_back_to_the_last_bit(file: Path) -> None:
    """And to other programs that read safetensors."""
    network, read = narrow(1), load_file(file)
    read_weights(file, network)
    found = network.state_dict()
    for name, value in narrow().state_dict().items():
        assert torch.equal(found[name], value)
        assert torch.equal(read[name], value)


def test_weights_in_the_channels_last_layout_are_the_same_bytes(file: Path, tmp_path: Path) -> None:
    network = narrow().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    write_described(tmp_path / "other", network)
    assert (tmp_path / "other").read_bytes() == file.read_bytes()


def refusal(path: Path, network: VGG) -> str:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(StageError) as error:
        read_weights(path, network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_shape_of_another_net_is_named(file: Path) -> None:
    said = refusal(file, narrow(classes=5))
    assert said.startswith(
        f"{file}: weights of another net than the settings describe: classifier.6.bias is (3,) in it, (5,)"
    )


def test_a_missing_name_is_named(file: Path) -> None:
    assert "features.1.bias is missing in it, (4,) in the net" in refusal(file, narrow(arch="A_BN"))


def trap(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def with_a_type_that_torch_lacks(path: Path) -> None:
    header = b'{"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")


@pytest.mark.parametrize("make", [trap, empty, with_a_type_that_torch_lacks])
def test_a_file_of_another_kind_is_refused_and_never_unpickled(file: Path, make) -> None:
    make(file)
    assert refusal(file, narrow()).startswith(f"{file}: not a valid safetensors file (")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    cut = file.with_name("cut")
    cut.write_bytes(whole[: int(share * len(whole))])
    assert "not a valid safetensors file" in refusal(cut, narrow())


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), place=st.integers(0, 2000))
def test_no_bytes_crash_the_reader(file: Path, content: bytes, place: int) -> None:
    """Any bytes as the file, and in the header of a valid one."""
    whole = file.read_bytes()
    for damaged in (content, whole[:place] + content + whole[place + len(content) :]):
        other = file.with_name("other")
        other.write_bytes(damaged)
        with suppress(StageError):
            read_weights(other, NETWORK)


# Description of the net in the file's metadata.


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_description_comes_back(tmp_path: Path) -> None:
    written = Description(
        arch="C_BN", width=1 / 16, input_side=32, classes=("001.猫", '002."dog"'), stored_side=40, test_scale=36,
        mean=(0.1, 1 / 3, 0.7), deviation=(0.2, 2 / 3, 1e-7),
    )  # fmt: skip
    write_weights(tmp_path / "weights", narrow(), written)
    assert read_description(tmp_path / "weights") == written


def test_any_reader_of_safetensors_finds_the_description_as_json(file: Path) -> None:
    found = json.loads(metadata(file)["vgg_ablation"])
    assert (found["arch"], found["classes"]) == ("A", ["001.made-up", "002.made-up", "003.made-up"])


def test_other_processes_write_the_same_bytes(file: Path) -> None:
    """safetensors writes several entries of metadata in random order."""
    assert list(metadata(file)) == ["vgg_ablation"]


def description_refusal(path: Path) -> str:
    with pytest.raises(StageError) as error:
        read_description(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_without_a_description_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "weights")
    assert description_refusal(tmp_path / "weights") == (
        f"{tmp_path}/weights: no description of its net, as an earlier version wrote it; run train again"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 1000}, "width: Input should be less than or equal to 2"),
        ({"input_side": 33}, "input_side: Input should be a multiple of 32"),
        ({"classes": []}, "classes: Tuple should have at least 1 item after validation, not 0"),
        ({"deviation": [1, 0, 1]}, "deviation.1: Input should be greater than 0"),
        ({"mean": [1]}, "mean: Tuple should have at least 3 items after validation, not 1"),
    ],
)
def test_an_impossible_description_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    content = json.dumps(description(narrow()).model_dump() | change)
    save_file({"x": torch.zeros(1)}, tmp_path / "weights", {"vgg_ablation": content})
    assert description_refusal(tmp_path / "weights") == f"{tmp_path}/weights: description of its net: {said}"


@pytest.mark.parametrize("make", [trap, empty])
def test_a_file_of_another_kind_has_no_description(file: Path, make) -> None:
    make(file)
    assert description_refusal(file).startswith(f"{file}: not a valid safetensors file (")
