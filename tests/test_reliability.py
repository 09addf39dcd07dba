"""Every test that docs/reliability.md names is there, and each promise names one."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
ROWS = re.findall(r"^\| (.+?) \| (.*?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)[1:]


def collected(file: Path) -> dict[str, bool]:
    """The tests of a file as pytest names them, and whether `make torture` runs them."""
    found: dict[str, bool] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for test in inside:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                marks = {ast.unparse(mark) for mark in test.decorator_list}
                found[prefix + test.name] = "pytest.mark.torture" in marks
    return found


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[promise[:40] for promise, _ in ROWS])
def test_a_promise_names_tests_that_are_there(promise: str, tests: str) -> None:
    if promise.startswith("**"):  # a heading
        assert tests == ""
        return
    named = re.findall(r"`([\w/]+\.py)::([\w:]+)`", tests)
    assert named
    assert ", ".join(f"`{file}::{test}`" for file, test in named) == tests
    for file, test in named:
        assert test in collected(TESTS / file), f"{file} has no {test}"
        assert collected(TESTS / file)[test] == ("(torture)" in promise)
