"""All figures of the report. The same study gives the same bytes."""

from collections.abc import Iterator

import matplotlib as mpl

from vgg_ablation.report import class_figures, error_figures, training_figures
from vgg_ablation.report.drawing import STYLE, Drawing
from vgg_ablation.report.sections import Findings


def all_figures(found: Findings) -> dict[str, Drawing]:
    """Return the figures that the study allows, by name, in the order in which the page shows them."""
    with mpl.rc_context(STYLE):
        return {one.name: one for one in _drawings(found)}


def _drawings(found: Findings) -> Iterator[Drawing]:
    study = found.study
    yield error_figures.error_by_depth(study)
    yield error_figures.paper_by_depth()
    yield from error_figures.claims(found.judgements)
    yield from error_figures.error_by_protocol(study)
    yield from error_figures.pairs(found.comparisons)
    yield from training_figures.searches(study)
    yield from training_figures.importances(study)
    for net in study.nets:
        yield training_figures.learning_curves(net, study)
    yield class_figures.class_errors(study)
    yield from class_figures.mended_classes(study)
    yield from class_figures.confusions(study)
    yield from class_figures.reliabilities(study)
    yield error_figures.compute(study)
