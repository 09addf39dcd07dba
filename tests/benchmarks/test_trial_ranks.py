"""Tests of `benchmarks.trial_ranks`."""

from scipy.stats import spearmanr

from benchmarks.trial_ranks import ShortTraining, page, ranks

ERRORS = [30.0, 10.0, 20.0, 40.0]
SHORT = [50.0, 70.0, 90.0, 10.0]


def trainings() -> list[ShortTraining]:
    """Four points, each trained for 5 and for 10 epochs; the short trial prefers the second best point."""
    made: list[ShortTraining] = []
    for rate, error, short in zip((0.1, 0.2, 0.3, 0.4), ERRORS, SHORT, strict=True):
        made.append(ShortTraining("A_BN", rate, 0.01, 5, short, short, 1 - short / 100, 100 - short))
        made.append(ShortTraining("A_BN", rate, 0.01, 10, 100 - error, 100 - error, error / 100, error))
    return made


def test_rank_correlation_is_that_of_scipy() -> None:
    short, full = ([row[3] for row in ranks(trainings()).rows if row[1] == epochs] for epochs in ("5", "10"))
    assert set(short) == {f"{spearmanr(SHORT, [-error for error in ERRORS])[0]:.2f}"}
    assert set(full) == {"1.00"}


def test_excess_is_the_final_error_of_the_chosen_point_above_the_best() -> None:
    excess = {row[1]: row[4] for row in ranks(trainings()).rows}
    assert excess == {"5": "10.0", "10": "0.0"}


def test_the_page_says_what_was_measured() -> None:
    text = page(trainings(), "sample", 5, [200, 2000], "a machine")
    assert "**Trials of 5 epochs, as in `sample`, rank points with a correlation of 0.80 (A_BN).\n" in text
    assert "that they choose is 10.0 (A_BN) points above" in text
    assert "learning rates\n0.1 to 0.4, weight decays 0.01 to 0.01" in text
    assert "on 200 validation images, and the error on 2000 test images after 10\nepochs" in text
