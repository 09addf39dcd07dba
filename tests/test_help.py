"""Every script and every module that runs by itself answers `--help`."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [file for folder in ("src", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
RUN = 'if __name__ == "__main__":'
SCRIPTS = [*sorted((ROOT / "stages").glob("*.py")), *(file for file in MODULES if RUN in file.read_text())]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.relative_to(ROOT).as_posix())
def test_help_says_what_it_does_and_ends_well(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    said = capsys.readouterr()
    first = script.read_text().split('"""')[1].split()[0]
    assert first in said.out
    assert said.err == ""
    assert list(tmp_path.iterdir()) == []
