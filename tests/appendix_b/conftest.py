from collections.abc import Iterator

import pytest
import torch

from vgg_ablation.device import Compute


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on several threads are very slow while other programs use the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def exact() -> Compute:
    return Compute(torch.device("cpu"), torch.float32)
