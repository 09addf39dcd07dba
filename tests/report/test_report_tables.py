from dataclasses import replace

import numpy as np
import pytest

from made_up_study import Make
from vgg_ablation.analysis.findings import Findings, find
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.paper.tables import TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TRAINING_SCALES
from vgg_ablation.report import paper_tables
from vgg_ablation.report.table import NONE, Table
from vgg_ablation.report.tables import all_tables, in_common

PAPER_Q = {"fixed": "224, 256, 288", "large": "352, 384, 416", "jitter": "256, 384, 512"}


def records(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def of_net(table: Table, arch: str) -> dict[str, str]:
    return next(row for row in records(table) if row["net"] == arch)


@pytest.fixture(scope="module")
def of_six(six_found: Findings) -> dict[str, Table]:
    return all_tables(six_found)


@pytest.fixture(scope="module")
def of_whole(whole_found: Findings) -> dict[str, Table]:
    return all_tables(whole_found)


def test_every_number_of_the_main_table_is_in_ablation_csv(of_six: dict[str, Table], six_found: Findings):
    assert len(of_six["result"].rows) == len(six_found.lead_rows) == 6
    for row in six_found.lead_rows:
        shown = of_net(of_six["result"], row.arch)
        assert list(shown.values()) == [
            row.arch,
            str(row.weight_layers),
            f"{(row.params or 0) / 1e6:.2f} M",
            f"{row.top1_error:.1f} [{row.top1_error_low:.1f}, {row.top1_error_high:.1f}]",
            f"{row.training_error:.1f}",
            ", ".join(f"{float(error):.1f}" for error in row.top1_error_runs.split(";")),
            f"{row.top5_error:.1f}",
            f"{row.mean_class_recall:.1f}",
            f"{row.ece:.1f}",
            "5 (1 did not train)" if row.arch == "E" else "5",
            f"{row.paper_top1_error:.1f}",
            f"{row.paper_top5_error:.1f}",
        ]


def test_every_claim_has_one_row_with_its_larger_difference(of_six: dict[str, Table], six_found: Findings):
    assert len(of_six["claims"].rows) == len(six_found.judgements)
    for row, one in zip(records(of_six["claims"]), six_found.judgements, strict=True):
        assert row["verdict"].removesuffix(", fragile") == one.verdict
        sensitivity = six_found.sensitivities.get(one.name)
        assert row["verdict"].endswith(", fragile") == (sensitivity is not None and sensitivity.fragile)
        largest = max((part.difference.mean for part in one.components), default=None)
        digits = 2 if row["claim"].endswith("; points per layer") else 1
        assert row["difference, points"].split(" ")[0] == (NONE if largest is None else f"{largest:+.{digits}f}")
        assert (row["detectable, points"] == NONE) == (not one.judged)


def test_the_slope_has_its_unit_and_two_decimals(whole_found: Findings):
    depth = whole_found.judgement("depth", "none")
    depth = replace(depth, components=[replace(one, detectable=0.123) for one in depth.components])
    (row,) = records(all_tables(replace(whole_found, judgements=[depth]))["claims"])
    slope = depth.components[0].difference
    assert row["claim"] == "The error falls with depth; points per layer"
    assert row["difference, points"] == f"{slope.mean:+.2f} [{slope.low:+.2f}, {slope.high:+.2f}]"
    assert row["detectable, points"] == "0.12"


def test_table_3_has_the_training_error_beside_the_test_error(of_whole: dict[str, Table], whole: Study):
    header = list(of_whole["table-3"].header)
    assert header.index("training error, %") == header.index("top-1 error, %") + 1
    rows = {(row["net"], row["S"]): row["training error, %"] for row in records(of_whole["table-3"])}
    for net in whole.nets:
        side = "[72; 144]" if net.scale == "jitter" else str(net.train_scale)
        assert rows[net.arch, side] == f"{np.mean([run.training_error for run in net.runs]):.1f}"


def test_pairs_are_compared_at_every_training_scale_and_test(of_whole: dict[str, Table], whole_found: Findings):
    assert len(of_whole["pairs"].rows) == 21
    assert len(of_whole["pairs-elsewhere"].rows) == 21 * 8
    means = {row.arch: row.top1_error for row in whole_found.lead_rows}
    for row in records(of_whole["pairs"]):
        first, second = row["pair"].split(" → ")
        assert float(row["difference, points"].split()[0]) == pytest.approx(means[second] - means[first], abs=0.0501)
    (row,) = [row for row in records(of_whole["pairs"]) if row["pair"] == "A → B"]
    assert (row["neighbours"], row["paper, points"]) == ("yes", "-0.9")


def test_a_choice_at_the_edge_of_the_search_space_is_marked(of_six: dict[str, Table]):
    assert of_net(of_six["search"], "B")["learning rate"] == "0.1 (edge)"
    assert of_net(of_six["search"], "C")["learning rate"] == "0.0131"


def test_every_setting_is_listed_and_the_source_without_its_folder(make: Make):
    files = make("A", runs=1)
    files.summary["source"] = "/home/ann/office.tar"
    study = files.read()
    shown = {row[0]: row[1] for row in all_tables(find(study))["settings"].rows}
    assert shown["data.source"] == "office.tar"
    assert shown["scales.jitter.train"] == "72, 144"
    assert shown["tune.learning_rate.low"] == "0.0001"
    assert {name.split(".")[0] for name in shown} == set(study.settings.model_dump())


def test_the_weights_of_every_run_are_listed(of_six: dict[str, Table], six: Study):
    shown = [(row[0], row[1], row[2], row[4]) for row in of_six["weights"].rows]
    assert shown == [(net.arch, net.scale, str(run.run), run.weights_sha256) for net in six.nets for run in net.runs]


def test_the_batch_size_is_among_the_tuned_settings_where_the_search_chose_it(of_six: dict[str, Table], make: Make):
    assert "batch size" not in of_six["search"].header
    files = make("A B", runs=1)
    for net, size in zip(files.metrics["nets"], (16, 64), strict=True):
        net["tuned"] |= {"batch_size": size, "batch_sizes": [16, 32, 64]}
        net["training"]["batch_size"] = size
    tables = all_tables(find(files.read()))
    assert [row["batch size"] for row in records(tables["search"])] == ["16", "64"]
    assert ("batch size", "16 (A); 64 (B)") in tables["training"].rows


def test_settings_that_nets_share_are_said_once(whole: Study, make: Make):
    assert in_common(whole.nets, ["64"] * len(whole.nets)) == "64"
    values = ["100" if net.scale == "fixed" else "40" for net in whole.nets]
    assert in_common(whole.nets, values) == "100 (fixed); 40 (large, jitter)"
    by_net = ["0.5" if net.arch == "E" else "0" for net in whole.nets]
    assert in_common(whole.nets, by_net) == "0 (A, A_LRN, B, C, D, B_5x5); 0.5 (E)"
    files = make("A B C", runs=1)
    files.metrics["nets"][1]["training"]["init"] = "paper"
    assert ("initialisation", "kaiming (A, C); paper (B)") in all_tables(find(files.read()))["training"].rows


# Tables 1 to 6


def at_full_size(net: Net) -> Net:
    training = net.training.model_copy(update={"width": 1.0})
    return net.model_copy(update={"input_side": 224, "classes": 1000, "training": training})


def test_at_full_size_our_configurations_are_the_papers(whole: Study):
    table, *_ = paper_tables.all_tables(replace(whole, nets=[at_full_size(net) for net in whole.nets]), [])
    rows = records(table)
    configurations = {(row["net"], row["of"]): list(row.values())[2:-1] for row in rows}
    for arch in TABLE_1:
        assert configurations[arch, "this study"] == configurations[arch, "paper"]


def test_our_configurations_have_the_studys_width_and_kernels(of_whole: dict[str, Table]):
    rows = {row["net"]: row for row in records(of_whole["table-1"]) if row["of"] == "this study"}
    assert rows["C"]["group 3"] == "64 64 64/1"
    assert rows["B_5x5"]["group 1"] == "16/5"
    assert rows["A_LRN"]["group 1"] == "16 LRN"
    assert rows["E"]["fully connected"] == "1024 1024 10"


def test_parameters_are_beside_the_papers(of_six: dict[str, Table], six: Study):
    rows = {(row["net"], row["of"]): row["parameters"] for row in of_six["table-1"].frame().to_dict("records")}
    for net in six.nets:
        assert rows[net.arch, "this study"] == net.params
        assert rows[net.arch, "paper"] == TABLE_2[net.arch] * 10**6


@pytest.mark.parametrize(
    ("name", "protocol", "theirs"), [("table-3", "dense", TABLE_3), ("table-4", "dense_scales", TABLE_4)]
)
def test_each_net_and_scale_is_beside_the_papers(
    of_whole: dict[str, Table], whole: Study, name: str, protocol: str, theirs: dict
):
    rows = {(row["net"], row["S"]): row for row in records(of_whole[name])}
    assert len(rows) == len(of_whole[name].rows) == 7 * 3
    for net in whole.nets:
        row = rows[net.arch, "[72; 144]" if net.scale == "jitter" else str(net.train_scale)]
        assert row["top-1 error, %"].split()[0] == f"{np.mean(list(net.top1_errors(protocol).values())):.1f}"
        paper = theirs[net.scale].get(net.arch)
        q = PAPER_Q[net.scale] if protocol == "dense_scales" else PAPER_Q[net.scale].split(", ")[1]
        expected = (TRAINING_SCALES[net.scale], q, f"{paper.top1:.1f}", f"{paper.top5:.1f}") if paper else (NONE,) * 4
        assert tuple(row.values())[-4:] == expected


def test_methods_and_fusions_are_beside_the_papers(of_whole: dict[str, Table], whole: Study):
    methods = {"dense, three scales": "dense_scales", "multi-crop": "multi_crop", "dense and multi-crop": "combined"}
    for name, theirs, measured in (("table-5", TABLE_5, whole.net), ("table-6", TABLE_6, whole.fusion)):
        rows = records(of_whole[name])
        for row in rows[:-1] if name == "table-6" else rows:
            protocol = methods[row["protocol"]]
            ours = measured(row["net"], "jitter")
            assert ours is not None
            mean = np.mean([run.protocols[protocol].top1_error for run in ours.runs])
            assert row["top-1 error, %"].split()[0] == f"{mean:.1f}"
            paper = theirs[protocol].get(row["net"])
            assert row["paper top-1, %"] == (f"{paper.top1:.1f}" if paper else NONE)
    assert [row["net"] for row in records(of_whole["table-6"])] == [
        *["D+E"] * 3,
        *["A+A_LRN+B+C+D+E"] * 3,
        rows[-1]["net"],
    ]
    assert list(rows[-1].values())[-3:] == ["24.7", "7.5", "7.3"]  # the submission's seven nets
