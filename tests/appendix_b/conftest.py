from collections.abc import Iterator

import pytest
import torch

from vgg_ablation.appendix_b import frozen
from vgg_ablation.device import Compute


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on several threads are very slow while other programs use the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the published nets narrow ones for small images."""
    monkeypatch.setitem(frozen.SHAPE, "input_side", 32)
    monkeypatch.setitem(frozen.SHAPE, "width", 1 / 16)


@pytest.fixture
def exact() -> Compute:
    return Compute(torch.device("cpu"), torch.float32)
