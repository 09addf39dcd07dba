"""All figures of the report."""

import matplotlib as mpl

from vgg_ablation.analysis.findings import Findings
from vgg_ablation.report.figures import classes, errors, training
from vgg_ablation.report.figures.style import STYLE, Figure

FIGURES = (
    errors.error_by_depth,
    errors.claims,
    errors.error_by_protocol,
    errors.pairs,
    training.searches,
    training.trial_errors,
    training.learning_curves,
    classes.errors_by_class,
    classes.changes_with_depth,
    classes.reliabilities,
    classes.examples,
    errors.costs,
)
"""Functions that draw the figures, in the order of the page."""


def draw(findings: Findings) -> list[Figure]:
    """Return the figures that a study allows, in the order of the page."""
    with mpl.rc_context(STYLE):
        return [figure for make in FIGURES for figure in make(findings)]
