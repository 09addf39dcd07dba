"""The README agrees with the settings, the reports and the Makefile."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from vgg_ablation.dataset.download import OFFICIAL_SIZE
from vgg_ablation.dataset.sample import CATEGORIES, SAMPLE_PER_CATEGORY
from vgg_ablation.report.readme import FILES, updated

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = "README.md", "docs/tutorial.md", "docs/architecture.md", "docs/experiments.md", "docs/appendix-b.md"
PARAMS = (ROOT / "params.yaml").read_text()
STUDIES = yaml.safe_load(PARAMS)["studies"]


WIDTHS = {"width 1/8": 0.125, "width 1/4": 0.25, "the paper's": 1.0}


def study_row(study: str) -> str:
    (row,) = re.findall(rf"^\| `{study}` \|.*$", README, re.MULTILINE)
    return row


def committed(name: str) -> str:
    """The file as committed: a run since then may have written another report."""
    shown = subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip(f"no committed {name} to compare with")
    return shown.stdout


@pytest.mark.parametrize("name", FILES)
def test_excerpts_are_those_of_the_committed_reports(name):
    text = committed(name)
    assert "<!-- end of excerpt -->" in text
    assert updated(text, committed) == text


@pytest.mark.parametrize("study", STUDIES)
def test_table_of_studies_gives_the_settings(study):
    row, settings = study_row(study), STUDIES[study]
    assert re.search(r"(\d+) runs", row)[1] == str(settings["data"]["splits"])  # pyright: ignore[reportOptionalSubscript]
    assert f"{settings['tune']['trials']} trials per net" in row
    assert f"{settings['model']['input_side']}-pixel crops" in row
    width = next((width for text, width in WIDTHS.items() if text in row))
    assert settings["model"]["width"] == width
    (norm,) = re.findall(rf"^  {study}:\n(?:    #.*\n)*?    #.*For norm: (\w+)", PARAMS, re.MULTILINE)
    assert f"`norm={norm}`" in row
    assert (f"of {settings['train']['epochs']} epochs" in row) == study.startswith("caltech256")


def test_sample_is_as_large_as_said():
    assert f"{len(CATEGORIES) * SAMPLE_PER_CATEGORY:,} rendered solids of {len(CATEGORIES)} categories" in study_row(
        "sample"
    )
    assert f"{OFFICIAL_SIZE / 1e9:.1f} GB" in study_row("office10")


@pytest.mark.parametrize("page", PAGES)
def test_stages_and_targets_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    for script in re.findall(r"python (stages/\w+\.py)", text):
        assert (ROOT / script).exists()
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def subcommand_and_options(words: list[str]) -> tuple[tuple[str, ...], set[str]]:
    """Return the main words after `dvc`: `exp run` or `repro`, and the options such as `--queue`."""
    of_two = words[0] in ("exp", "metrics", "plots", "queue")
    return tuple(words[: 1 + of_two]), {word.partition("=")[0] for word in words if word.startswith("-")}


def test_an_end_to_end_test_runs_every_dvc_command_that_the_readme_names():
    sources = "".join(path.read_text() for path in (ROOT / "tests/end_to_end").glob("test_*.py"))
    calls = re.findall(r'"dvc"((?:,\s+f?"[^"]+")+)', sources)
    run = [subcommand_and_options(re.findall(r'"([^"]+)"', call)) for call in calls]
    text = README + "".join((ROOT / f"docs/{name}.md").read_text() for name in ("architecture", "experiments"))
    named = [
        subcommand_and_options(words.split())
        for words in re.findall(r"(?:`|^|; )dvc ([a-z][^`;\n]+)", text, re.MULTILINE)
    ]
    assert len(named) > 20
    missing = [
        (words, options) for words, options in named if not any(words == one and options <= its for one, its in run)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_committed_files(page):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    links = {link for link in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()) if "://" not in link}
    files = {(ROOT / page).parent.joinpath(link.split("#")[0]).resolve() for link in links if link[0] != "#"}
    assert files
    assert files <= {ROOT / name for name in listed.split()}


def test_links_to_headings_of_the_readme_lead_there():
    headings = {"#" + heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    tutorial = (ROOT / "docs/tutorial.md").read_text()
    links = {*re.findall(r"\]\((#[^)]+)\)", README), *re.findall(r"\]\(\.\./README\.md(#[^)]+)\)", tutorial)}
    assert links
    assert links <= headings
