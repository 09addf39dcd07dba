"""Each promise in docs/reliability.md names existing tests."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!promise|\*\*)(.+?) \| (.*?) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[promise[:40] for promise, _ in ROWS])
def test_each_promise_names_existing_tests(promise: str, tests: str) -> None:
    for name in tests.split(", "):
        file, test = name.strip("`").split("::")
        body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
        marks = [node.decorator_list for node in body if isinstance(node, ast.FunctionDef) and node.name == test]
        assert marks, f"{file} has no {test}"
        assert ("pytest.mark.torture" in map(ast.unparse, marks[0])) == ("(torture)" in promise)
