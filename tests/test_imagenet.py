"""Weights of random nets with torchvision's names, from a server on this machine and from folders."""

import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import get_model_weights

from published_fixtures import random_weights
from vgg_ablation import imagenet
from vgg_ablation.dataset import download
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_json
from vgg_ablation.imagenet import kept_weights, obtain_start, obtain_weights, published_net
from vgg_ablation.model.published import OFFICIAL, PUBLISHED
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.names import NORMS, named
from vgg_ablation.runtime.settings import ModelSettings

pytestmark = pytest.mark.usefixtures("narrow", "state")

NAMES = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TORCHVISION_MIRRORS", raising=False)
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    return tmp_path / "root" / ".state" / "download"


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of what serves the folder; it is the official address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as listening:
        address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setattr(imagenet, "OFFICIAL_FOLDER", address + "/")
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield address
        listening.shutdown()
        thread.join()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def refusal(net: str, source: Path | str, out: Path, console: Console) -> str:
    with pytest.raises(StageError) as error:
        obtain_weights(net, str(source), out, console)
    assert not (out / "weights.safetensors").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


# What is published.


def test_official_files_are_those_that_torchvision_names() -> None:
    for norm in NORMS:
        for arch in PUBLISHED:
            official = OFFICIAL[named(arch, norm)]
            theirs = get_model_weights(NAMES[arch] + ("_bn" if norm == "batch" else "")).IMAGENET1K_V1  # pyright: ignore
            assert theirs.url == imagenet.OFFICIAL_FOLDER + official.file
            assert theirs.meta["_file_size"] == official.mebibytes
            assert official.sha256.startswith(official.file.removesuffix(".pth").rpartition("-")[2])
    assert len(OFFICIAL) == 2 * len(PUBLISHED)


# Downloads.


@pytest.mark.parametrize("net", ["A", "E_BN"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_published_file_is_downloaded_and_its_tensors_stay_the_same(
    net: str, zipped: bool, publish: Callable[..., Path], server: str, tmp_path: Path, console: Console, state: Path
) -> None:
    """In torch's format of today, and in that of 2017, which the published files have."""
    wanted = random_weights(net)
    publish(net, wanted, _use_new_zipfile_serialization=zipped)
    found = obtain_weights(net, "torchvision", tmp_path / "out", console)
    read = load_file(tmp_path / "out" / "weights.safetensors")
    assert read.keys() == wanted.keys()
    assert all(torch.equal(read[name], wanted[name]) for name in wanted)
    assert (found["published"], found) == (True, read_json(tmp_path / "out" / "source.json"))
    assert not list(state.rglob("*.pth"))  # half a gigabyte that nobody needs any more


def test_a_mirror_gives_what_the_official_address_does_not(
    publish: Callable[..., Path], server: str, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("A", random_weights("A"))
    monkeypatch.setattr(imagenet, "OFFICIAL_FOLDER", f"{server}/nothing/")
    assert "404" in refusal("A", "torchvision", tmp_path / "out", console)
    monkeypatch.setenv("TORCHVISION_MIRRORS", server)
    assert obtain_weights("A", "torchvision", tmp_path / "out", console)["published"]


def test_a_download_with_another_hash_is_refused(
    publish: Callable[..., Path], server: str, tmp_path: Path, console: Console
) -> None:
    path = publish("A", random_weights("A"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "checksum mismatch: SHA-256" in refusal("A", "torchvision", tmp_path / "out", console)


def test_a_download_of_another_size_is_refused(
    publish: Callable[..., Path], server: str, tmp_path: Path, console: Console
) -> None:
    path = publish("A", random_weights("A"))
    path.write_bytes(path.read_bytes()[:1000])
    assert "has 1,000 bytes, not" in refusal("A", "torchvision", tmp_path / "out", console)


def test_without_a_network_one_line_says_what_to_do(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "OFFICIAL_FOLDER", "http://127.0.0.1:9/")
    said = refusal("D", "torchvision", tmp_path / "out", console)
    assert said.startswith("could not be downloaded: http://127.0.0.1:9/vgg16-397923af.pth (Connection refused)")
    assert said.endswith("put the file into a folder and name that: appendix_b.weights in params.yaml")


def test_a_verified_download_outlives_a_kill_before_it_is_converted(
    publish: Callable[..., Path], server: str, tmp_path: Path, console: Console
) -> None:
    path = publish("A", random_weights("A"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "fitting", interrupted)
        with pytest.raises(KeyboardInterrupt):
            obtain_weights("A", "torchvision", tmp_path / "out", console)
    path.unlink()
    assert obtain_weights("A", "torchvision", tmp_path / "out", console)["published"]


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


# Folders.


def test_a_published_file_in_a_folder_is_as_good_as_a_download(
    publish: Callable[..., Path], folder: Path, tmp_path: Path, console: Console
) -> None:
    path = publish("B_BN", random_weights("B_BN"))
    assert obtain_weights("B_BN", str(folder), tmp_path / "out", console)["published"]
    assert path.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_another_author_are_told_from_torchvisions(
    suffix: str, folder: Path, tmp_path: Path, console: Console
) -> None:
    (torch.save if suffix == ".pth" else save_file)(random_weights("A"), folder / f"A{suffix}")  # pyright: ignore
    found = obtain_weights("A", str(folder), tmp_path / "out", console)
    assert (found["file"], found["published"]) == (f"A{suffix}", False)


def test_a_file_that_only_has_the_published_name_is_refused(folder: Path, tmp_path: Path, console: Console) -> None:
    torch.save(random_weights("A"), folder / "vgg11-8a719046.pth")
    assert "not the file that torchvision published" in refusal("A", folder, tmp_path / "out", console)


def test_a_folder_without_the_nets_weights_or_with_two_is_refused(
    folder: Path, tmp_path: Path, console: Console
) -> None:
    assert "holds no weights of net A; allowed: vgg11-8a719046.pth, A.safetensors, A.pth" in refusal(
        "A", folder, tmp_path / "out", console
    )
    for name in ("A.pth", "A.safetensors"):
        (folder / name).touch()
    assert "holds A.safetensors and A.pth; keep one" in refusal("A", folder, tmp_path / "out", console)


class Trap:
    """Ends the tests if it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


@pytest.mark.parametrize("bare", [True, False])
def test_a_pickle_that_runs_a_program_is_refused(bare: bool, folder: Path, tmp_path: Path, console: Console) -> None:
    if bare:
        (folder / "A.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    else:
        torch.save({"features.0.weight": Trap()}, folder / "A.pth")
    assert "damaged, or holds more than tensors; refused" in refusal("A", folder, tmp_path / "out", console)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9999])
def test_a_truncated_file_is_refused(suffix: str, share: float, folder: Path, tmp_path: Path, console: Console) -> None:
    path = folder / f"A{suffix}"
    (torch.save if suffix == ".pth" else save_file)(random_weights("A"), path)  # pyright: ignore[reportArgumentType]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert str(path) in refusal("A", folder, tmp_path / "out", console)


def test_weights_of_another_net_are_refused(folder: Path, tmp_path: Path, console: Console) -> None:
    torch.save(random_weights("D"), folder / "E.pth")
    assert "weights of another net" in refusal("E", folder, tmp_path / "out", console)


@pytest.mark.parametrize("content", [["no", "names"], {"features.0.weight": 3}, torch.ones(3)])
def test_what_is_no_state_dict_is_refused(content: object, folder: Path, tmp_path: Path, console: Console) -> None:
    torch.save(content, folder / "A.pth")
    assert "not a state dict; refused" in refusal("A", folder, tmp_path / "out", console)


def test_weights_that_are_not_finite_are_refused(folder: Path, tmp_path: Path, console: Console) -> None:
    tensors = random_weights("A")
    tensors["features.0.bias"][0] = torch.nan
    torch.save(tensors, folder / "A.pth")
    assert "not finite" in refusal("A", folder, tmp_path / "out", console)


def test_files_from_before_batch_normalisation_counted_batches_are_complete(
    folder: Path, tmp_path: Path, console: Console
) -> None:
    tensors = {name: value for name, value in random_weights("A_BN").items() if not name.endswith("batches_tracked")}
    torch.save(tensors, folder / "A_BN.pth")
    obtain_weights("A_BN", str(folder), tmp_path / "out", console)
    read = load_file(tmp_path / "out" / "weights.safetensors")
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


# Weights that training starts from.


START = ModelSettings(input_side=224, width=1.0, dropout=0.5, init="imagenet")


def test_a_net_that_starts_from_imagenet_gets_the_published_weights_of_its_twin_once(
    publish: Callable[..., Path], weights_named: None, console: Console
) -> None:
    wanted = random_weights("D_BN")
    path = publish("D_BN", wanted)
    digest = obtain_start("C_BN", START, console)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    assert obtain_start("D_BN", START, console) == digest
    found = published_net("D_BN").state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_damaged_copy_of_published_weights_is_made_again(
    publish: Callable[..., Path], weights_named: None, console: Console
) -> None:
    publish("A", wanted := random_weights("A"))
    obtain_start("A", START, console)
    copy = kept_weights("A") / "weights.safetensors"
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    obtain_start("A", START, console)
    assert torch.equal(published_net("A").state_dict()["classifier.6.bias"], wanted["classifier.6.bias"])


def test_a_deleted_copy_of_published_weights_is_made_again(
    publish: Callable[..., Path], weights_named: None, console: Console
) -> None:
    publish("A", random_weights("A"))
    digest = obtain_start("A", START, console)
    copy = kept_weights("A") / "weights.safetensors"
    copy.unlink()
    assert obtain_start("A", START, console) == digest
    assert copy.exists()


def test_appendix_b_takes_what_the_ordinary_pipeline_has_downloaded(
    publish: Callable[..., Path], server: str, weights_named: None, tmp_path: Path, console: Console
) -> None:
    path = publish("A", random_weights("A"))
    settings = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace(f"weights: {path.parent}", "weights: torchvision"))
    obtain_start("A_LRN", START, console)
    path.unlink()
    assert obtain_weights("A", "torchvision", tmp_path / "out", console)["file"] == path.name
    assert (tmp_path / "out" / "weights.safetensors").samefile(kept_weights("A") / "weights.safetensors")


def test_training_starts_from_no_weights_of_another_author(folder: Path, weights_named: None, console: Console) -> None:
    torch.save(random_weights("E"), folder / "E.pth")
    with pytest.raises(StageError, match=r"holds no weights of net E; allowed: vgg19-dcbb9e9d\.pth$"):
        obtain_start("E", START, console)


def test_a_net_that_starts_at_random_needs_no_weights(console: Console, tmp_path: Path) -> None:
    assert obtain_start("B_5x5", START.model_copy(update={"init": "kaiming"}), console) == ""
    assert not (tmp_path / "root").exists()
