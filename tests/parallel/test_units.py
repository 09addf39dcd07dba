from hypothesis import given
from hypothesis import strategies as st

from tiny_study import SAMPLE
from vgg_ablation.parallel.units import Unit, Work
from vgg_ablation.runtime.settings import SCALES, StudySettings

STUDY = StudySettings.model_validate(SAMPLE)


def work(trials: int, round_size: int, runs: int, scale: str = "fixed") -> Work:
    tune = STUDY.tune.model_copy(update={"trials": trials, "round_size": round_size})
    data = STUDY.data.model_copy(update={"splits": runs})
    return Work(STUDY.model_copy(update={"tune": tune, "data": data}), scale)


def before(unit: Unit, units: dict[str, Unit]) -> set[str]:
    """Return the names of all units that must end before `unit`."""
    found: set[str] = set()
    for need in unit.needs:
        found |= {need, *before(units[need], units)}
    return found


@given(trials=st.integers(1, 12), round_size=st.integers(1, 13), runs=st.integers(1, 4))
def test_a_trial_waits_for_earlier_rounds_and_a_run_for_all_trials_of_its_net(
    trials: int, round_size: int, runs: int
) -> None:
    units = {unit.name: unit for unit in work(trials, round_size, runs).units(["A", "E"])}
    assert len(units) == 2 * (trials + runs)
    for unit in units.values():
        numbers = {
            number for number in range(trials) if f"{unit.arch} trial {number + 1}/{trials}" in before(unit, units)
        }
        earlier = unit.number // round_size * round_size if unit.kind == "trial" else trials
        assert numbers == set(range(earlier))
        assert len(before(unit, units)) == earlier, "of its own net alone"


def test_all_scales_are_trained_up_to_the_last_that_is_evaluated() -> None:
    scales = {
        name: (work(1, 1, 1, name).trained_scales, work(1, 1, 1, name).evaluated_scales) for name in (*SCALES, "all")
    }
    assert scales == {
        "fixed": (("fixed",), ("fixed",)),
        "large": (("fixed", "large"), ("large",)),
        "jitter": (SCALES, ("jitter",)),
        "all": (SCALES, SCALES),
    }
