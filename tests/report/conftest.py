"""Fixtures for the report's tests."""

from collections.abc import Collection
from pathlib import Path

import pytest
from made_up_study import LAYERS, Files, Make

from vgg_ablation.report.outputs import render


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return what makes up a study: six nets, five runs and ten classes unless told otherwise."""

    def made(
        archs: str = "A A_LRN B C D E", runs: int = 5, classes: int = 10, untrained: Collection[tuple[str, int]] = ()
    ) -> Files:
        return Files(tmp_path, archs.split(), runs, classes, untrained)

    return made


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The report on six nets with five runs each, one of which (the third of E) did not train."""
    folder = tmp_path_factory.mktemp("six")
    return render(Files(folder, list(LAYERS), 5, 10, {("E", 2)}).read())
