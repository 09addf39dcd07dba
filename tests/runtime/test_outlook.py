from pathlib import Path

import pytest
import yaml

from vgg_ablation.runtime import paths
from vgg_ablation.runtime.outlook import Outlook, look_ahead
from vgg_ablation.runtime.params import Params
from vgg_ablation.runtime.settings import StudySettings

BLOCK = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["studies"]["sample"]


def outlook(own: Path, net: str) -> Outlook:
    """Return the outlook of A and B, of which B costs twice as much: two trials of 3 epochs, five runs of 7."""
    study = StudySettings.model_validate(
        BLOCK | {"tune": BLOCK["tune"] | {"trials": 2, "epochs": 3}, "train": BLOCK["train"] | {"epochs": 7}}
    )
    params = Params("all", "none", "fixed", "sample", {})
    return look_ahead(params, study, own, net, ("A", "B"), lambda arch, *_: {"A": 10.0, "B": 20.0}[arch])


def test_other_stages_without_results_count_as_epochs_of_the_present_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert outlook(paths.search("A"), "A") == Outlook(6, 0, 5 * 7 + 2 * (2 * 3 + 5 * 7))
    paths.search("A").mkdir(parents=True)
    paths.training("A", "fixed").mkdir(parents=True)
    assert outlook(paths.search("B"), "B") == Outlook(6, 2, 5 * 7)
    assert outlook(paths.search("A"), "A") == Outlook(6, 1, 2 * (2 * 3 + 5 * 7)), "its own results are being renewed"
