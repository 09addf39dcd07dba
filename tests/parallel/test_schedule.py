import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.parallel.schedule import Schedule, longest_chains, makespan
from vgg_ablation.parallel.units import Unit


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[Unit], dict[str, float]]:
    """Draw units that need some of those before them, and the seconds of each."""
    units: list[Unit] = []
    for number in range(draw(st.integers(1, 12))):
        needs = draw(st.lists(st.sampled_from(units), unique=True, max_size=3)) if units else []
        units.append(Unit("A", "trial", number, 12, tuple(unit.name for unit in needs)))
    return units, {unit.name: draw(st.floats(0.1, 10)) for unit in units}


@given(study=studies(), slots=st.integers(1, 6))
def test_the_time_is_within_grahams_bound(study: tuple[list[Unit], dict[str, float]], slots: int) -> None:
    """Graham, Bounds on multiprocessing timing anomalies (1969): at most total/slots + (1 - 1/slots) of the chain."""
    units, seconds = study
    total, chain = sum(seconds.values()), max(longest_chains(units, seconds).values())
    found = makespan(units, seconds, slots)
    assert max(total / slots, chain) - 1e-9 <= found <= total / slots + (1 - 1 / slots) * chain + 1e-9
    assert makespan(units, seconds, 1) == pytest.approx(total)
    assert makespan(units, seconds, len(units)) == pytest.approx(chain)


def test_of_the_units_that_can_start_the_one_with_the_longest_chain_does() -> None:
    units = [
        Unit("A", "run", 0, 1, ()),
        Unit("B", "trial", 0, 1, ()),
        Unit("B", "run", 0, 1, ("B trial 1/1",)),
        Unit("C", "run", 0, 1, ()),
    ]
    schedule = Schedule(units, {"A run 1/1": 5, "B trial 1/1": 2, "B run 1/1": 4, "C run 1/1": 5})
    started = []
    while unit := schedule.next():
        schedule.start(unit)
        started.append(unit.name)
    assert started == ["B trial 1/1", "A run 1/1", "C run 1/1"]
    schedule.finish(units[1])
    assert schedule.next() == units[2]


def test_what_needs_a_failed_unit_never_starts_and_a_repeated_one_does() -> None:
    units = [Unit("B", "trial", 0, 1, ()), Unit("B", "run", 0, 1, ("B trial 1/1",))]
    schedule = Schedule(units, {unit.name: 1.0 for unit in units})
    schedule.start(units[0])
    schedule.repeat(units[0])
    assert schedule.next() == units[0]
    schedule.start(units[0])
    schedule.fail(units[0])
    assert schedule.next() is None
    assert list(schedule.blocked) == ["B run 1/1"]
