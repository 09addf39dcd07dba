import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve, 5 ± 1 Ω", "naïve, 5 ± 1 Ω"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202egpj", r"\u202egpj"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_any_text_becomes_one_line_of_utf8(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


def test_a_long_text_is_cut() -> None:
    assert printable(100 * "x", longest=10) == "xxxxxxx..."
    assert printable("0123456789", longest=10) == "0123456789"
