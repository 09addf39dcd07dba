"""Subpackages import only what is above them, and each DVC stage depends on exactly the files that it imports."""

import ast
import re
import subprocess
import sys
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from vgg_ablation.appendix_b import classify, features
from vgg_ablation.evaluate import cache
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.model.table1 import ABLATION, PLAIN
from vgg_ablation.runtime.names import NORMS
from vgg_ablation.runtime.settings import SCALES
from vgg_ablation.train import net, tune

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vgg_ablation"
NETS = "src/vgg_ablation/model/nets.yaml"
EVERYWHERE = {"errors", "files", "runtime", "text"}
PARTS = {
    "errors": set(),
    "text": set(),
    "files": {"errors"},
    "runtime": {"errors", "files", "text"},
    "paper": set(),
    "device": EVERYWHERE,
    "images": {*EVERYWHERE, "device"},
    "dataset": {*EVERYWHERE, "images"},
    "model": {*EVERYWHERE, "paper"},
    "imagenet": {*EVERYWHERE, "dataset", "model"},
    "train": {*EVERYWHERE, "paper", "device", "images", "model", "imagenet"},
    "evaluate": {*EVERYWHERE, "device", "images", "model"},
    "analysis": {*EVERYWHERE, "paper", "model", "evaluate"},
    "report": {*EVERYWHERE, "paper", "model", "analysis"},
    "appendix_b": {*EVERYWHERE, "device", "images", "dataset", "model", "evaluate", "analysis", "report"},
    "predict": {*EVERYWHERE, "device", "images", "dataset", "model", "evaluate", "analysis"},
    "export": {*EVERYWHERE, "model", "analysis", "report", "predict"},
    "parallel": {*EVERYWHERE, "device", "images", "dataset", "model", "imagenet", "train", "evaluate"},
}
"""What each subpackage or module may import besides itself."""


def module_file(module: str) -> Path | None:
    path = ROOT / "src" / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


@lru_cache
def imported(file: Path) -> frozenset[Path]:
    """The package's files that `file` imports, wherever in it the import stands."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = [module for module in modules if module.split(".")[0] == "vgg_ablation"]
    parents = {module.rsplit(".", level)[0] for module in ours for level in range(module.count(".") + 1)}
    return frozenset(path for module in parents if (path := module_file(module)) and not holds_docstring_alone(path))


@lru_cache
def holds_docstring_alone(file: Path) -> bool:
    body = ast.parse(file.read_text()).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def decides(file: Path) -> bool:
    """Return True if the file's content can change a result.

    Not runtime/, not the class of errors, and not imagenet.py: it hands over the tensors of a file, or refuses.
    """
    return part(file) not in ("runtime", "errors", "imagenet")


def reached(start: Path) -> set[Path]:
    """The files that decide a result and that `start` imports, directly or through other such files."""
    found: set[Path] = set()
    waiting = {start}
    while waiting:
        waiting = {file for name in waiting for file in imported(name) if decides(file)} - found
        found |= waiting
    return found


FILES = ("dvc.yaml", "stages/dvc.yaml", "appendix_b/dvc.yaml", "appendix_b/stages/dvc.yaml")


def read_stages() -> dict[str, dict[str, Any]]:
    files = (yaml.safe_load((ROOT / name).read_text()) for name in FILES)
    return {name: stage for content in files for name, stage in content["stages"].items()}


STAGES = read_stages()


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_each_part_of_the_package_imports_only_those_before_it(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        return
    assert {part(other) for other in imported(file)} - {part(file)} <= PARTS[part(file)]


def test_the_builder_of_the_images_knows_their_format_alone() -> None:
    used = {other for file in (PACKAGE / "dataset").glob("*.py") for other in imported(file) if part(other) == "images"}
    assert used == {PACKAGE / "images" / "index.py"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = list(PACKAGE.rglob("*.py"))
    list(TopologicalSorter({file: imported(file) - {file} for file in files}).static_order())


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_depends_on_exactly_the_files_that_it_imports(name: str) -> None:
    stage = STAGES[name]
    script = ROOT / stage["cmd"].split()[1]
    needed = reached(script)
    listed = {ROOT / dep for dep in stage["deps"] if dep.startswith("src/") and dep != NETS}
    assert {file for file in needed if not listed & {file, *file.parents}} == set(), "imported, but no dependency"
    files = {file for dep in listed for file in ([dep] if dep.is_file() else dep.rglob("*"))}
    code = {file for file in files if file.suffix == ".py" and not holds_docstring_alone(file)}
    assert code - needed == set(), "a dependency, but not imported"
    assert script.relative_to(ROOT).as_posix() in stage["deps"]


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_that_reads_table_1_depends_on_all_of_it_or_on_its_nets_part(name: str) -> None:
    stage = STAGES[name]
    reads = PACKAGE / "model" / "table1.py" in reached(ROOT / stage["cmd"].split()[1])
    parts = [part for param in stage.get("params", []) if isinstance(param, dict) for part in param.get(NETS, [])]
    of_one_net = name in ("tune", "train", "train-large", "train-jitter", "evaluate")
    of_published_net = name in ("weights", "features")
    assert parts == (["A", "${item.arch}"] if of_one_net else ["${item.arch}"] if of_published_net else [])
    assert (NETS in stage["deps"]) == (reads and not of_one_net and not of_published_net)


def row_of(name: str) -> str:
    """The row about a stage in docs/architecture.md: name, files of the package by part, outputs."""
    parts: dict[str, list[str]] = {}
    for dep in STAGES[name]["deps"]:
        if dep.startswith("src/vgg_ablation/") and dep != NETS:
            place = Path(dep.removeprefix("src/vgg_ablation/"))
            key = place.parent.as_posix() if place.suffix else place.as_posix()
            parts.setdefault(key, []).extend([place.stem] if place.suffix else [])
    code = []
    for key, files in sorted(parts.items()):
        prefix = "" if key == "." else f"{key}/"
        code.append(f"`{prefix}`" if not files else f"`{prefix}`: {', '.join(files)}" if prefix else ", ".join(files))
    outputs = [out if isinstance(out, str) else next(iter(out)) for out in STAGES[name]["outs"]]
    places = (re.sub(r"\$\{(?:item\.)?(\w+)\}", lambda found: found[1].upper(), output) for output in outputs)
    return f"| {name} | {'; '.join(code)} | {', '.join(f'`{place}`' for place in places)} |"


@pytest.mark.parametrize("name", STAGES)
def test_the_page_on_the_architecture_says_what_a_stage_depends_on(name: str) -> None:
    assert row_of(name) in (ROOT / "docs/architecture.md").read_text().splitlines()


def test_the_key_of_resume_state_holds_the_files_that_decide_the_result() -> None:
    for script, sources in (
        ("stages/tune.py", tune.SOURCES),
        ("stages/train.py", net.SOURCES),
        ("stages/evaluate.py", cache.SOURCES),
        ("appendix_b/stages/features.py", features.SOURCES),
        ("appendix_b/stages/classify.py", classify.SOURCES),
    ):
        files = reached(ROOT / script) - {PACKAGE / "files.py"}
        assert {PACKAGE / name for name in sources} == files, script


@pytest.mark.parametrize(("name", "folder"), [("report", "report"), ("table-11", "appendix_b")])
def test_a_report_depends_on_its_templates(name: str, folder: str) -> None:
    assets = {file for file in (PACKAGE / folder).rglob("*") if file.is_file() and file.suffix != ".py"}
    listed = {ROOT / dep for dep in STAGES[name]["deps"]}
    assert {file for file in assets if "__pycache__" not in file.parts and not listed & {file, *file.parents}} == set()


def test_every_stage_script_is_a_stage_of_at_most_25_lines() -> None:
    scripts = sorted([*ROOT.glob("stages/*.py"), *ROOT.glob("appendix_b/stages/*.py")])
    assert {ROOT / stage["cmd"].split()[1] for stage in STAGES.values()} == set(scripts)
    assert {path.name: lines for path in scripts if (lines := len(path.read_text().splitlines())) > 25} == {}


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_of_the_work_has_one_output_folder(name: str) -> None:
    assert name in ("check", "report") or len(STAGES[name]["outs"]) == 1


def read_lists(file: str) -> dict[str, list[str]]:
    variables = yaml.safe_load((ROOT / file).read_text())["vars"]
    return {name: values for entry in variables if isinstance(entry, dict) for name, values in entry.items()}


def test_the_matrix_of_appendix_b_names_the_nets_with_published_weights() -> None:
    lists = read_lists("appendix_b/stages/dvc.yaml")
    assert lists == {"nets": [*PUBLISHED], "nets_or_all": [*PUBLISHED, "all"], "norms": [*NORMS]}
    for name in ("weights", "features", "classify"):
        assert STAGES[name]["matrix"] == {"arch": "${nets}", "norm": "${norms}"}


def test_no_stage_of_the_ablation_needs_appendix_b() -> None:
    ablation = (
        yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        | yaml.safe_load((ROOT / "stages/dvc.yaml").read_text())["stages"]
    )
    assert not [name for name, stage in ablation.items() if "appendix" in str(stage)]


def test_the_matrix_names_every_net_and_scale() -> None:
    lists = read_lists("stages/dvc.yaml")
    assert tuple(lists["nets"]) == PLAIN
    assert lists["nets_or_all"] == [*PLAIN, "all"]
    assert tuple(lists["norms"]) == NORMS
    assert tuple(lists["scales"]) == SCALES
    assert STAGES["aggregate-norms"]["matrix"]["scale"] == [*SCALES, "all"]
    for name in ("tune", "train", "train-large", "train-jitter", "evaluate"):
        assert STAGES[name]["matrix"]["arch"] == "${nets}"
    for name in ("aggregate-scales", "aggregate-norms", "aggregate-norms-search"):
        assert STAGES[name]["matrix"]["arch"] == "${nets_or_all}"
    for name in ("tune", "train", "train-large", "train-jitter", "evaluate", "aggregate", "aggregate-search"):
        assert STAGES[name]["matrix"]["norm"] == "${norms}"
    for name in ("evaluate", "aggregate"):
        assert STAGES[name]["matrix"]["scale"] == "${scales}"


@pytest.mark.parametrize("name", ["aggregate", "aggregate-search"])
def test_the_nets_of_table_1_are_merged(name: str) -> None:
    deps = [Path(dep) for dep in STAGES[name]["deps"] if dep.startswith("results/")]
    kinds = {Path(*dep.parts[3:]) for dep in deps}
    expected = [Path("results", "${item.norm}", arch, kind) for arch in ABLATION for kind in kinds]
    assert sorted(deps) == sorted(expected)


def test_the_three_scales_are_merged() -> None:
    deps = [Path(dep) for dep in STAGES["aggregate-scales"]["deps"] if dep.startswith("results/")]
    kinds = {Path(*dep.parts[4:]) for dep in deps}
    of_net = Path("results", "${item.norm}", "${item.arch}")
    assert sorted(deps) == sorted(of_net / scale / kind for scale in SCALES for kind in kinds)


@pytest.mark.parametrize("name", ["aggregate-norms", "aggregate-norms-search"])
def test_both_normalisations_are_merged(name: str) -> None:
    deps = [Path(dep) for dep in STAGES[name]["deps"] if dep.startswith("results/")]
    kinds = {Path(*dep.parts[2:]) for dep in deps}
    assert sorted(deps) == sorted(Path("results", norm, kind) for norm in NORMS for kind in kinds)


@pytest.mark.parametrize("scale", SCALES[1:])
def test_a_scale_starts_from_the_weights_of_the_scale_before(scale: str) -> None:
    before = f"results/${{item.norm}}/${{item.arch}}/{SCALES[SCALES.index(scale) - 1]}/training"
    deps = {dep for dep in STAGES[f"train-{scale}"]["deps"] if dep.startswith("results/")}
    assert deps == {
        "results/${item.norm}/${item.arch}/search/best.json",
        f"{before}/training.json",
        f"{before}/weights",
    }


@pytest.mark.parametrize("name", ["train", "train-large", "train-jitter"])
def test_a_training_stage_reads_no_scale_but_its_own(name: str) -> None:
    scale = name.removeprefix("train").removeprefix("-")
    params = [param for param in STAGES[name]["params"] if ".scales" in param]
    assert params == ([f"studies.${{study}}.scales.{scale}"] if scale else [])


def test_stages_of_the_nets_import_nothing_slow_but_torch() -> None:
    """They run eighty-four times in a study of six nets, all with and without batch normalisation."""
    names = ("tune", "train", "evaluate")
    program = (
        "import runpy, sys\nsys.argv = ['stage', 'Q']\n"
        f"for name in {names}:\n"
        f"    try: runpy.run_path({str(ROOT / 'stages')!r} + f'/{{name}}.py')\n"
        "    except SystemExit: pass\n"
        "    print(name, {'pandas', 'matplotlib', 'torchvision', 'requests', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [f"{name} Q: arch = 'Q'; allowed: {', '.join(PLAIN)}" for name in names]
    assert done.stdout.splitlines() == [f"{name} set()" for name in names]
