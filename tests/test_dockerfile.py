"""The Dockerfile and the files that it copies agree."""

import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")


def test_copied_files_are_committed():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    copied = [name for line in re.findall(r"^COPY (.+)$", INSTRUCTIONS, re.MULTILINE) for name in line.split()[:-1]]
    assert "requirements.lock" in copied
    assert set(copied) - {"."} <= set(listed)


def test_set_up_needs_no_file_that_is_copied_later():
    """The set-up installs the package, whose build reads these files."""
    before = INSTRUCTIONS[: INSTRUCTIONS.index("make set-up")]
    rule = re.search(r"^\$\(SET_UP\): (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule
    assert {*rule[1].split(), "README.md", "LICENSE", "src/vgg_ablation/__init__.py"} <= set(before.split())


def test_targets_of_make_exist():
    targets = re.findall(r"make ([\w-]+)", INSTRUCTIONS.split("ENV", 1)[1])
    makefile = (ROOT / "Makefile").read_text()
    assert "set-up" in targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_environment_of_the_image_is_never_made_anew(tmp_path):
    """The environment's date is in the future, so that a mounted repository with a newer lock leaves it as it is."""
    (touch,) = re.findall(r"touch --date=\S+ /opt/venv/(\.set-up)", INSTRUCTIONS)
    (date,) = re.findall(r"touch --date=(\S+)", INSTRUCTIONS)
    subprocess.run(["touch", f"--date={date}", tmp_path / touch], check=True)
    planned = subprocess.run(
        ["make", "--dry-run", "reproduce", f"VGG_ABLATION_VENV={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "pip" not in planned
    for line in planned.splitlines():
        if "dvc repro" in line:
            assert shlex.split(line)[0].startswith(f"PATH={tmp_path}/bin:")


def test_ignored_files_of_git_stay_out_of_the_image():
    of_git = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    of_docker = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert of_git <= of_docker
