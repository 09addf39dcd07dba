from dataclasses import replace

import pytest

from made_up_study import Make
from vgg_ablation import paper as published
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.paper import TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TRAINING_SCALES
from vgg_ablation.report.paper_tables import missing_cells, table_1, table_2, table_3, table_4, table_5, table_6
from vgg_ablation.report.tables import NONE, Number, Table, ablation

PAPER_Q = {"fixed": "224, 256, 288", "large": "352, 384, 416", "jitter": "256, 384, 512"}


def cells(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def at_full_size(net: Net) -> Net:
    return net.model_copy(
        update={"input_side": 224, "classes": 1000, "training": net.training.model_copy(update={"width": 1.0})}
    )


def test_at_full_size_our_configurations_are_the_papers(whole: Study):
    full = replace(whole, nets=[at_full_size(net) for net in whole.nets])
    of_both = {(row["net"], row["of"]): list(row.values())[2:] for row in cells(table_1(full))}
    assert len(of_both) == 2 * len(TABLE_1) + 1
    for arch in TABLE_1:
        assert of_both[arch, "this study"] == of_both[arch, "paper"]


def test_our_configurations_have_the_studys_width_and_kernels(whole: Study):
    rows = {row["net"]: row for row in cells(table_1(whole)) if row["of"] == "this study"}
    assert rows["C"]["group 3"] == "64 64 64/1"
    assert rows["B_5x5"]["group 1"] == "16/5"
    assert rows["A_LRN"]["group 1"] == "16 LRN"
    assert rows["E"]["fully connected"] == "1024 1024 10"


def test_the_papers_parameters_are_the_full_nets_rounded(six: Study):
    for row in cells(table_2(six)):
        full = row["at full width, 1000 classes, 224 pixels"]
        assert isinstance(full, Number)
        assert full.value is not None
        assert f"{round(full.value / 1e6)} M" == row["paper"] == f"{TABLE_2[row['net']]} M"


def test_our_parameters_are_those_measured(six: Study):
    for row, net in zip(cells(table_2(six)), six.nets, strict=True):
        assert row["this study"] == f"{net.params / 1e6:.2f} M"


@pytest.mark.parametrize(
    ("layout", "protocol", "theirs"), [(table_3, "dense", TABLE_3), (table_4, "dense_scales", TABLE_4)]
)
def test_each_net_and_training_scale_stands_beside_the_papers(whole: Study, layout, protocol: str, theirs):
    rows = cells(layout(ablation(whole)))
    found = {(row["net"], row["S"]): row for row in rows}
    assert len(found) == len(rows) == 7 * 3
    for net in whole.nets:
        row = found[net.arch, "[72; 144]" if net.scale == "jitter" else str(net.train_scale)]
        mean = sum(net.top1_errors(protocol).values()) / 3
        assert row["top-1 error, %"].split()[0] == f"{mean:.1f}"
        paper = theirs[net.scale].get(net.arch)
        assert row["paper S"] == (TRAINING_SCALES[net.scale] if paper else NONE)
        assert row["paper top-1, %"] == (f"{paper.top1:.1f}" if paper else NONE)
        assert row["paper top-5, %"] == (f"{paper.top5:.1f}" if paper else NONE)
        q = PAPER_Q[net.scale] if protocol == "dense_scales" else PAPER_Q[net.scale].split(", ")[1]
        assert row["paper Q"] == (q if paper else NONE)


@pytest.mark.parametrize(("layout", "theirs"), [(table_3, TABLE_3), (table_4, TABLE_4)])
def test_the_papers_cells_are_all_there_for_one_net_at_one_scale(make: Make, layout, theirs):
    rows = cells(layout(ablation(make("C", runs=1).read())))
    expected = [f"{theirs[scale][arch].top1:.1f}" for scale in theirs for arch in theirs[scale]]
    assert sorted(row["paper top-1, %"] for row in rows if row["paper top-1, %"] != NONE) == sorted(expected)
    assert [row["net"] for row in rows if row["S"] != NONE] == ["C"]


def test_crops_and_dense_testing_stand_beside_the_papers(whole: Study):
    found = {(row["net"], row["method"]): row for row in cells(table_5(ablation(whole)))}
    words = {"dense, three scales": "dense_scales", "multi-crop": "multi_crop", "dense and multi-crop": "combined"}
    assert len(found) == 7 * 3
    for (arch, method), row in found.items():
        net = whole.net(arch, "jitter")
        assert net is not None
        mean = sum(net.top1_errors(words[method]).values()) / 3
        assert row["top-1 error, %"].split()[0] == f"{mean:.1f}"
        paper = TABLE_5[words[method]].get(arch)
        assert row["paper top-1, %"] == (f"{paper.top1:.1f}" if paper else NONE)
        assert (row["paper S"], row["paper Q"]) == (("[256; 512]", "256, 384, 512") if paper else (NONE, NONE))


def test_fusions_stand_beside_the_papers(whole: Study):
    rows = cells(table_6(ablation(whole)))
    assert [row["net"] for row in rows[:-1]] == 3 * ["D+E"] + 3 * ["A+A_LRN+B+C+D+E"]
    assert [row["paper top-5 on test images, %"] for row in rows[:3]] == ["7.0", NONE, "6.8"]
    assert {(row["paper S"], row["paper Q"]) for row in rows[:3]} == {("[256; 512]", "256, 384, 512")}
    assert [row["paper top-1, %"] for row in rows[:3]] == [f"{TABLE_6[name]['D+E'].top1:.1f}" for name in TABLE_6]
    fusion = whole.fusion("D+E", "jitter")
    assert fusion is not None
    mean = sum(run.protocols["combined"].top1_error for run in fusion.runs) / 3
    assert rows[2]["top-1 error, %"].split()[0] == f"{mean:.1f}"


def test_the_papers_submission_stands_last(make: Make):
    row = cells(table_6(ablation(make("C", runs=1).read())))[-1]
    assert row["net"] == "ILSVRC submission, seven nets"
    assert list(row.values())[-3:] == ["24.7", "7.5", "7.3"]
    assert row["top-1 error, %"] == NONE


def test_without_jitter_the_methods_are_those_of_the_scale_that_has_most_of_them(make: Make):
    rows = cells(table_5(ablation(make("D", runs=1, scales="fixed large").read())))
    ours = [row for row in rows if row["S"] != NONE]
    assert [(row["net"], row["method"]) for row in ours] == [("D", "dense, three scales")]


def test_a_study_of_everything_lacks_no_cell_but_fixed_multi_crop(whole: Study):
    assert missing_cells(whole) == {}


def test_what_fills_the_missing_cells_is_told(make: Make):
    lines = missing_cells(make("C D", runs=1).read())
    assert list(lines) == ["table-3", "table-4", "table-5", "table-6"]
    assert "`dvc exp run -S arch=all` adds A, A_LRN, B, E" in lines["table-3"]
    assert "`dvc exp run -S scale=all` adds the training scales large and jitter" in lines["table-4"]
    assert "fuses nets" in lines["table-6"]
    assert "`dvc exp run -S arch=all` adds E" in missing_cells(make("A D", runs=1).read())["table-5"]


def test_a_protocol_that_was_not_asked_for_is_told(make: Make):
    files = make("A A_LRN B C D E", runs=1, scales="fixed large jitter")
    for measured in (*files.metrics["nets"], *files.metrics["fusions"]):
        if measured["scale"] == "jitter":
            for run in measured["runs"]:
                del run["protocols"]["combined"]
    lines = missing_cells(files.read())
    assert list(lines) == ["table-5", "table-6"]
    assert "`studies.sample.evaluate.protocols.jitter` with combined" in lines["table-5"]


def test_the_published_test_scales_surround_the_training_scale():
    for scale, written in PAPER_Q.items():
        low, middle, high = map(int, written.split(", "))
        assert low < middle < high
        assert str(middle) in (published.TRAINING_SCALES[scale], "384")
