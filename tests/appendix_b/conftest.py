import pytest
import torch

from vgg_ablation.device import Compute


@pytest.fixture(autouse=True)
def one_thread(torch_as_before: None) -> None:
    """Small layers on several threads are very slow while other programs use the processors."""
    torch.set_num_threads(1)


@pytest.fixture
def exact() -> Compute:
    return Compute(torch.device("cpu"), torch.float32)
