"""What DVC is told of a stage's code is what the stage's script imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def test_matrix_names_the_nets_of_table_1():
    from vgg_ablation.model.configurations import ARCHITECTURES

    document = yaml.safe_load((ROOT / "stages/dvc.yaml").read_text())
    assert tuple(document["vars"][0]["nets"]) == ARCHITECTURES
    joined = {Path(dep).parent.name for dep in document["stages"]["aggregate"]["deps"] if dep.startswith("results/")}
    assert joined == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ["tune", "train", "evaluate"])
def test_stages_of_the_nets_import_nothing_slow_but_torch(name):
    """They run eighteen times in a study of six nets."""
    program = (
        "import runpy, sys\nsys.argv = ['stage', 'Q']\n"
        f"try: runpy.run_path({str(ROOT / 'stages' / name)!r} + '.py')\n"
        "except SystemExit: pass\n"
        "print({'pandas', 'matplotlib', 'torchvision', 'requests', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == f"{name} Q: arch = 'Q'; allowed: A, A_LRN, B, C, D, E\n"
    assert done.stdout == "set()\n"
