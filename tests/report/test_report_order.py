import pytest
from made_up_study import Make

from vgg_ablation.report.order import agreement, compare_neighbours
from vgg_ablation.report.published import SINGLE_SCALE


def test_six_nets_make_five_pairs(make: Make):
    comparisons = compare_neighbours(make().read().nets, "dense")
    pairs = [(one.claim.first, one.claim.second) for one in comparisons]
    assert pairs == [("A", "A_LRN"), ("A", "B"), ("B", "C"), ("C", "D"), ("D", "E")]


@pytest.mark.parametrize(("archs", "runs"), [("C", 5), ("A C E", 5), ("A B", 1)])
def test_without_neighbours_or_a_second_run_nothing_is_compared(make: Make, archs: str, runs: int):
    assert compare_neighbours(make(archs, runs).read().nets, "dense") == []


@pytest.mark.parametrize(
    ("second", "better", "verdict"),
    [
        ([20.0, 21.0, 22.0, 20.5], "B", "supported"),
        ([40.0, 41.0, 42.0, 40.5], "A", "contradicted"),
        ([30.5, 31.5, 31.0, 30.0], None, "undecided"),
    ],
)
def test_verdict_on_a_claim_of_improvement(make: Make, second: list[float], better: str | None, verdict: str):
    files = make("A B", runs=4)
    files.set_errors(A=[30.0, 31.0, 32.0, 30.5], B=second)
    (one,) = compare_neighbours(files.read().nets, "dense")
    assert (one.better, one.verdict) == (better, verdict)
    assert one.published == pytest.approx(-0.9)


@pytest.mark.parametrize(("second", "verdict"), [(20.0, "contradicted"), (40.0, "supported"), (30.0, "undecided")])
def test_verdict_on_a_claim_of_no_improvement(make: Make, second: float, verdict: str):
    files = make("D E", runs=4)
    files.set_errors(D=[30.0, 31.0, 32.0, 30.5], E=[second, second + 1, second + 2, second])
    (one,) = compare_neighbours(files.read().nets, "dense")
    assert one.verdict == verdict


def test_runs_are_paired_by_their_number(make: Make):
    files = make("A B", runs=3)
    files.set_errors(A=[10.0, 50.0, 90.0], B=[9.0, 49.0, 89.0])
    files.metrics["nets"][1]["runs"].reverse()
    del files.metrics["nets"][0]["runs"][0]
    (one,) = compare_neighbours(files.read().nets, "dense")
    assert (one.difference.runs, one.difference.mean) == (2, pytest.approx(-1))


def test_a_run_that_did_not_train_takes_part(make: Make):
    trained, failed = (
        compare_neighbours(make("A B", untrained=untrained).read().nets, "dense")[0].difference.mean
        for untrained in ((), {("B", 3)})
    )
    assert failed > trained + 5


def test_agreement_with_the_paper_itself_is_full():
    assert agreement({arch: errors.top1 + 20 for arch, errors in SINGLE_SCALE.items()}) == pytest.approx(1)


def test_two_nets_have_no_rank_agreement():
    assert agreement({"A": 30.0, "B": 20.0}) is None
