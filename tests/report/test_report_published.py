from itertools import pairwise

import pytest

from vgg_ablation.report.published import CLAIMS, SINGLE_SCALE, TABLE_3, WEIGHT_LAYERS


def test_the_column_at_256_has_every_net():
    assert list(SINGLE_SCALE) == list(WEIGHT_LAYERS)


@pytest.mark.parametrize(("scale", "better"), [("256", "D"), ("384", "D"), ("[256; 512]", "E")])
def test_e_beats_d_under_scale_jitter_alone(scale: str, better: str):
    assert min(TABLE_3[scale], key=lambda arch: TABLE_3[scale][arch].top1) == better


def test_the_claims_are_those_of_the_papers_own_table():
    for claim in CLAIMS:
        assert (SINGLE_SCALE[claim.second].top1 < SINGLE_SCALE[claim.first].top1) == claim.improves


def test_the_claims_are_about_neighbours():
    order = list(WEIGHT_LAYERS)
    assert [(claim.first, claim.second) for claim in CLAIMS] == [("A", "A_LRN"), ("A", "B"), *pairwise(order[2:])]
