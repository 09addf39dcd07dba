from made_up_study import Make
from vgg_ablation.report.cost import by_net, total


def test_a_nets_cost_is_that_of_its_stages(make: Make):
    # Stages 4, 6 and 8 of the made-up study: 14, 16 and 18 s; 5,000 and 7,000 images in 12 and 14 s of work, and half a
    # second of waiting for checkpoints in the second.
    table = by_net(make("A B", runs=2).read())
    assert table.header[:5] == ("net", "tune", "train", "evaluate", "all")
    assert list(table.rows[1]) == ["B", "14 s", "16 s", "18 s", "48 s", "12,000", "462", "3.4%", "12.5%", "12.5%"]


def test_the_cost_of_all_stages_adds_up(make: Make):
    # Stages 0 to 8 take 10 to 18 s; the searches are stages 3 and 4.
    cost = total(make("A B", runs=2).read().costs)
    assert (cost.time, cost.search, cost.share) == ("1:56 min", "27 s", "70%")
    assert cost.device == "cpu (2 threads, bfloat16)"


def test_what_was_not_measured_is_a_dash(make: Make):
    files = make("A", runs=2)
    files.costs["share_of_limit"], files.costs["commit"] = float("nan"), ""
    study = files.read()
    assert list(by_net(study).rows[0])[-2:] == ["–", "–"]
    assert total(study.costs).commit == "–"
