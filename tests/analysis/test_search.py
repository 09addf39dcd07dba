import numpy as np
import pandas as pd
import pytest

from made_up_study import Make
from vgg_ablation.analysis.search import complete, importance, paper_was_tried
from vgg_ablation.analysis.study import Study


def trials(accuracy: np.ndarray, learning_rate: np.ndarray, weight_decay: np.ndarray) -> pd.DataFrame:
    columns = {"arch": "A", "state": "complete", "outcome": "", "validation_accuracy": accuracy}
    return pd.DataFrame({**columns, "learning_rate": learning_rate, "weight_decay": weight_decay})


def test_a_setting_that_alone_decides_the_accuracy_has_most_of_the_importance(six: Study):
    rng = np.random.default_rng(1)
    rates, decays = 10 ** rng.uniform(-4, -1, 60), 10 ** rng.uniform(-5, -2, 60)
    shares = importance(six.nets[0], trials(80 + 10 * np.log10(rates), rates, decays))
    assert shares is not None
    assert shares["learning_rate"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_too_few_trials_have_no_importance(six: Study):
    three = np.array([0.01, 0.02, 0.03])
    assert importance(six.nets[0], trials(three, three, three / 10)) is None


def test_complete_trials_neither_failed_nor_were_pruned():
    table = trials(np.array([50, 0, 10, 40]), np.full(4, 0.01), np.full(4, 0.001))
    table["outcome"] = ["", "diverged", "at chance", ""]
    table.loc[3, "state"] = "pruned"
    assert list(complete(table)["validation_accuracy"]) == [50]


def test_the_papers_point_has_to_be_among_every_nets_trials(make: Make):
    files = make("A B", runs=1)
    assert paper_was_tried(files.read())
    files.trials = files.trials[(files.trials["arch"] == "A") | (files.trials["trial"] > 0)]
    assert not paper_was_tried(files.read())
