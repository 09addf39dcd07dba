import json

from benchmarks.scaling import DATA, PAGE, STUDIES, table, updated

MEASURED = json.loads(DATA.read_text(encoding="utf-8"))


def test_the_page_has_the_table_of_its_data() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page, MEASURED) == page
    assert updated(page.replace("| 64 |", "| 65 |"), MEASURED) == page


def test_units_of_equal_length_take_slots_in_turn() -> None:
    """With every unit 1 s: one slot takes as many seconds as there are units, and the chain is rounds and a run."""
    data = {"machine": "x", "seconds": {name: dict.fromkeys(MEASURED["seconds"][name], 1.0) for name in STUDIES}}
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in table(data).splitlines() if "| " in line}
    assert rows["1"] == "54 s", "6 nets with 4 trials and 5 runs"
    assert rows["64"] == rows["longest chain"] == "3.0 s", "two rounds of two trials, and a run"
