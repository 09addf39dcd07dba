"""Fixtures for the report's tests."""

from collections.abc import Collection
from pathlib import Path

import pytest

from made_up_study import EXPECTED, Files, Make
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.analysis.study import Study

SIX = "A A_LRN B C D E"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return what makes up a study: six nets, five runs, ten classes and the fixed scale unless told otherwise."""

    def made(
        archs: str = SIX,
        runs: int = 5,
        classes: int = 10,
        untrained: Collection[tuple[str, int]] = (),
        scales: str = "fixed",
    ) -> Files:
        return Files(tmp_path, archs.split(), runs, classes, untrained, scales.split())

    return made


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of six nets at the fixed scale with five runs each, one of which (the third of E) did not train."""
    return Files(tmp_path_factory.mktemp("six"), SIX.split(), 5, 10, {("E", 2)}).read()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of all seven nets at all three training scales with three runs each."""
    return Files(tmp_path_factory.mktemp("whole"), list(EXPECTED), 3, scales=["fixed", "large", "jitter"]).read()


@pytest.fixture(scope="session")
def six_found(six: Study) -> Findings:
    """Findings of `six`."""
    return find(six)


@pytest.fixture(scope="session")
def whole_found(whole: Study) -> Findings:
    """Findings of `whole`."""
    return find(whole)
