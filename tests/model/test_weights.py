import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torchvision.models import vgg11

from vgg_ablation.errors import StageError
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import read_weights, write_weights


class Trap:
    """What would end the tests if it were ever unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def narrow(seed: int = 0, classes: int = 3, *, batch_norm: bool = False) -> VGG:
    torch.manual_seed(seed)
    return VGG("A", classes, input_side=32, width=1 / 16, batch_norm=batch_norm)


NETWORK = narrow()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_weights(tmp_path / "weights.safetensors", narrow())
    return tmp_path / "weights.safetensors"


def test_weights_come_back_to_the_last_bit(file: Path) -> None:
    network = narrow(1)
    read_weights(file, network)
    expected = narrow().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_weights_can_be_read_by_others(file: Path) -> None:
    read = load_file(file)
    assert all(torch.equal(read[name], value) for name, value in narrow().state_dict().items())


def test_weights_in_the_channels_last_layout_are_the_same_bytes(file: Path, tmp_path: Path) -> None:
    network = narrow().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    write_weights(tmp_path / "other", network)
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
    assert said.startswith(f"{file}: of another net than the settings describe: classifier.6.bias is (3,) in it, (5,)")


def test_a_name_that_is_missing_is_named(file: Path) -> None:
    assert "features.1.bias is not there in it, (4,) in the net" in refusal(file, narrow(batch_norm=True))


def test_a_net_from_elsewhere_is_refused_by_the_first_shape_that_differs(tmp_path: Path) -> None:
    save_file(vgg11(num_classes=3, init_weights=False).state_dict(), tmp_path / "theirs")
    assert "classifier.0.bias is (4096,) in it, (256,) in the net" in refusal(tmp_path / "theirs", narrow())


def pickled(path: Path) -> None:
    torch.save(narrow().state_dict(), path)


def trap(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def with_a_type_that_torch_lacks(path: Path) -> None:
    header = b'{"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")


@pytest.mark.parametrize("make", [pickled, trap, empty, with_a_type_that_torch_lacks])
def test_a_file_of_another_kind_is_refused_and_never_unpickled(file: Path, make) -> None:
    make(file)
    assert refusal(file, narrow()).startswith(f"{file}: not a whole safetensors file (")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    cut = file.with_name("cut")
    cut.write_bytes(whole[: int(share * len(whole))])
    assert "not a whole safetensors file" in refusal(cut, narrow())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), place=st.integers(0, 2000))
def test_no_bytes_crash_the_reader(file: Path, content: bytes, place: int) -> None:
    """Bytes alone, and bytes in the header of a file that is whole otherwise."""
    whole = file.read_bytes()
    for damaged in (content, whole[:place] + content + whole[place + len(content) :]):
        other = file.with_name("other")
        other.write_bytes(damaged)
        with suppress(StageError):
            read_weights(other, NETWORK)
