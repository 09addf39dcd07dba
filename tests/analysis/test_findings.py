from made_up_study import Make
from vgg_ablation.analysis.findings import Findings, find


def test_the_lead_has_the_nets_without_fusions(whole_found: Findings):
    assert {(row.scale, row.protocol) for row in whole_found.lead_rows} == {("fixed", "dense")}
    assert [row.arch for row in whole_found.lead_rows] == ["A", "A_LRN", "B", "C", "D", "E", "B_5x5"]


def test_best_and_worst_have_the_lowest_and_highest_error(six_found: Findings):
    errors = sorted(row.top1_error for row in six_found.lead_rows)
    assert (six_found.best.top1_error, six_found.worst.top1_error) == (errors[0], errors[-1])


def test_all_pairs_are_compared_at_every_scale_and_protocol(whole_found: Findings):
    assert len(whole_found.comparisons) == 21
    assert len(whole_found.table_1_comparisons) == 15
    assert len(whole_found.elsewhere) == 8
    assert {len(comparisons) for comparisons in whole_found.elsewhere.values()} == {21}


def test_too_few_nets_have_no_agreement(make: Make):
    assert find(make("A B", runs=2).read()).agreements == []


def test_orders_are_those_of_the_same_table_and_of_torchvision_on_centre_crops(six_found: Findings):
    (paper, ours, _), (torchvision, crop, agreement) = six_found.agreements
    assert paper is not None
    assert (paper.scale, paper.protocol, ours) == ("fixed", "dense", "dense")
    assert (torchvision, crop, agreement.nets) == (None, "centre", ("A", "B", "D", "E"))
