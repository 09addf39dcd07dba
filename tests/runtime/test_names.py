from pathlib import Path

import pytest

from vgg_ablation.runtime import paths
from vgg_ablation.runtime.names import named, norm_of, plain

NAMES = {
    ("A_LRN", "none"): "A_LRN",
    ("A_LRN", "batch"): "A_LRN_BN",
    ("D+E", "none"): "D+E",
    ("D+E", "batch"): "D_BN+E_BN",
    ("all", "batch"): "all_BN",
    ("C", "all"): "C_all",
    ("all", "all"): "all_all",
}


@pytest.mark.parametrize(("arch", "norm"), NAMES)
def test_a_name_tells_the_net_and_its_normalisation(arch: str, norm: str) -> None:
    name = named(arch, norm)
    assert name == NAMES[arch, norm]
    assert (plain(name), norm_of(name)) == (arch, norm)


@pytest.mark.parametrize(
    ("name", "folder"), [("C", "none/C"), ("C_BN", "batch/C"), ("all_BN", "batch/all"), ("all_all", "all/all")]
)
def test_results_have_a_folder_for_each_normalisation(name: str, folder: str) -> None:
    assert paths.search(name) == Path("results", folder, "search")
    assert paths.training(name, "fixed") == Path("results", folder, "fixed", "training")
    assert paths.evaluation(name, "all") == Path("results", folder, "all", "evaluation")
