"""Each promise in docs/reliability.md has tests, which tests/promises.yaml names."""

import ast
import re
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8").partition("## Not promised")[0]
PROMISES = yaml.safe_load((TESTS / "promises.yaml").read_text(encoding="utf-8"))


def test_the_page_has_these_promises() -> None:
    found = [" ".join(promise.split()) for promise in re.findall(r"^\* (.+(?:\n  .+)*)\.$", PAGE, re.MULTILINE)]
    assert found == [row["promise"] for row in PROMISES]


@pytest.mark.parametrize("row", PROMISES, ids=[row["promise"][:40] for row in PROMISES])
def test_each_promise_names_existing_tests(row: dict) -> None:
    for name in row["tests"]:
        file, test = name.split("::")
        body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
        marks = [node.decorator_list for node in body if isinstance(node, ast.FunctionDef) and node.name == test]
        assert marks, f"{file} has no {test}"
        assert ("pytest.mark.torture" in map(ast.unparse, marks[0])) == ("(torture)" in row["promise"])
