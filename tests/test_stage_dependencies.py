"""What DVC is told of a stage's code is what the stage's script imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vgg_ablation.model.table1 import ABLATION, ARCHITECTURES
from vgg_ablation.runtime.settings import SCALES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = "vgg_ablation"


def read_stages() -> dict[str, dict]:
    return {
        name: stage
        for file in ("dvc.yaml", "stages/dvc.yaml")
        for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items()
    }


def module_file(module: str) -> Path | None:
    path = SOURCE / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def imported_files(file: Path) -> set[Path]:
    """The package's files that `file` imports, wherever in it the import stands, packages on the way included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative imports are not followed"
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = [module for module in modules if module.split(".")[0] == PACKAGE]
    parents = {module.rsplit(".", level)[0] for module in ours for level in range(module.count(".") + 1)}
    return {path for module in parents if (path := module_file(module))}


def reached_files(script: Path) -> set[Path]:
    reached: set[Path] = set()
    waiting = {script}
    while waiting:
        new = set().union(*map(imported_files, waiting)) - reached
        reached |= new
        waiting = new
    return {file for file in reached if not is_docstring_alone(file)}


def is_docstring_alone(file: Path) -> bool:
    return all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in ast.parse(file.read_text()).body
    )


@pytest.mark.parametrize("name", sorted(read_stages()))
def test_stage_depends_on_exactly_the_package_folders_it_imports(name):
    stage = read_stages()[name]
    script = ROOT / stage["cmd"].split()[1]
    reached = reached_files(script)
    listed = {ROOT / dep for dep in stage["deps"] if dep.startswith("src/")}
    assert {file for file in reached if not listed & {file, *file.parents}} == set(), "imported, but no dependency"
    assert {dep for dep in listed if not any(dep in {file, *file.parents} for file in reached)} == set(), "not imported"
    assert script.relative_to(ROOT).as_posix() in stage["deps"]


def test_every_stage_script_is_a_stage():
    scripts = {stage["cmd"].split()[1] for stage in read_stages().values()}
    assert scripts == {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")}


def read_work() -> dict:
    return yaml.safe_load((ROOT / "stages/dvc.yaml").read_text())


def test_the_matrix_names_every_net():
    assert tuple(read_work()["vars"][0]["nets"]) == ARCHITECTURES


@pytest.mark.parametrize("name", ["tune", "train", "train-large", "train-jitter", "evaluate"])
def test_every_stage_of_the_nets_runs_over_the_matrix(name):
    assert read_work()["stages"][name]["matrix"]["arch"] == "${nets}"


@pytest.mark.parametrize("name", ["aggregate", "aggregate-search"])
def test_what_is_joined_are_the_nets_of_table_1(name):
    deps = [Path(dep) for dep in read_work()["stages"][name]["deps"] if dep.startswith("results/")]
    kinds = {dep.relative_to(f"results/{dep.parts[1]}") for dep in deps}
    assert sorted(deps) == sorted(Path("results", arch, kind) for arch in ABLATION for kind in kinds)


@pytest.mark.parametrize("name", ["evaluate", "aggregate"])
def test_every_training_scale_is_evaluated_and_joined_over_the_nets(name):
    assert tuple(read_work()["stages"][name]["matrix"]["scale"]) == SCALES


def test_the_scales_of_every_net_and_of_all_of_them_are_joined():
    stage = read_work()["stages"]["aggregate-scales"]
    assert tuple(stage["matrix"]["arch"]) == (*ARCHITECTURES, "all")
    deps = [Path(dep) for dep in stage["deps"] if dep.startswith("results/")]
    kinds = {dep.name for dep in deps}
    assert sorted(deps) == sorted(Path("results", "${item.arch}", scale, kind) for scale in SCALES for kind in kinds)


@pytest.mark.parametrize("scale", SCALES[1:])
def test_a_scale_starts_from_the_weights_of_the_scale_before(scale):
    before = f"results/${{item.arch}}/{SCALES[SCALES.index(scale) - 1]}"
    deps = {dep for dep in read_work()["stages"][f"train-{scale}"]["deps"] if dep.startswith("results/")}
    assert deps == {"results/${item.arch}/best.json", f"{before}/training.json", f"{before}/weights"}


@pytest.mark.parametrize("name", ["train", "train-large", "train-jitter"])
def test_a_training_stage_reads_no_scale_but_its_own(name):
    """Another scale's settings must not train it again; `train` takes the images as they are packed."""
    scale = name.removeprefix("train").removeprefix("-")
    params = [param for param in read_work()["stages"][name]["params"] if ".scales" in param]
    assert params == ([f"studies.${{study}}.scales.{scale}"] if scale else [])


@pytest.mark.parametrize("name", ["tune", "train", "evaluate"])
def test_stages_of_the_nets_import_nothing_slow_but_torch(name):
    """They run forty-two times in a study of six nets at three scales."""
    program = (
        "import runpy, sys\nsys.argv = ['stage', 'Q']\n"
        f"try: runpy.run_path({str(ROOT / 'stages' / name)!r} + '.py')\n"
        "except SystemExit: pass\n"
        "print({'pandas', 'matplotlib', 'torchvision', 'requests', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == f"{name} Q: arch = 'Q'; allowed: A, A_LRN, B, C, D, E, B_5x5\n"
    assert done.stdout == "set()\n"
