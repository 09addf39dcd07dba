"""Names that tables, figures and templates give to nets' data, settings and tests."""

from vgg_ablation.analysis.claims import Judgement
from vgg_ablation.analysis.sensitivity import Sensitivity
from vgg_ablation.analysis.study import Data, Study
from vgg_ablation.report.table import count
from vgg_ablation.runtime.names import ALL

PROTOCOLS = {
    "centre": "centre crop",
    "dense": "dense",
    "dense_scales": "dense, three scales",
    "multi_crop": "multi-crop",
    "combined": "dense and multi-crop",
}
PAPER_TABLES = {"dense": "Table 3", "dense_scales": "Table 4", "multi_crop": "Table 5", "combined": "Table 5"}
"""Table of the paper that has the errors of single nets, by protocol."""
SETTINGS = {"learning_rate": "learning rate", "weight_decay": "weight decay"}
CLAIMS = {
    "lrn": "Local response normalisation does not improve on the net A without it",
    "depth": "The error falls with depth",
    "saturation": "The error saturates when the depth reaches 19 layers",
    "non_linearity": "The additional non-linearity helps: C is better than B",
    "context": "Spatial context matters: D is better than C, of the same depth",
    "small_filters": "Small filters in a deep net are better than large ones in a shallow net: B is better than B_5x5",
    "jitter": "Scale jittering in training lowers the error, even at one test scale",
    "crops": "Multi-crop and dense evaluation complement each other: both together are better than either",
    "fusion": "Averaging the posteriors of several nets lowers the error",
}
"""The paper's claims in short, by key."""
SYMBOLS = {
    "reproduced": "✓",
    "contradicted": "✗",
    "less than 1 point": "≈",
    "undecided": "?",
    "not trained far enough": "△",
    "not tested": "–",
}
"""Signs of verdicts, which readers who see no colours can distinguish."""
NORMS = {"none": "without batch normalisation", "batch": "with batch normalisation"}
"""Nets by normalisation."""
BUDGETS = {
    "trials": "trials",
    "trial_epochs": "epochs per trial",
    "search_images": "images in all trials",
    "runs": "runs",
    "epochs": "epochs at this scale",
    "train_images": "training images per run",
}
"""Columns of the table of budgets by field."""

_CALTECH_256 = 256  # categories, without clutter


def claim(judgement: Judgement, study: Study) -> str:
    """Return the claim, and the nets' normalisation where the study has nets of both."""
    text = CLAIMS[judgement.claim.key]
    return f"{text} ({NORMS[judgement.norm]})" if study.norm == ALL else text


def describe(data: Data) -> str:
    """Return what the images are, so that nobody mistakes rendered images for Caltech-256."""
    number = len(data.categories)
    if data.source == "sample":
        return f"{count(number, 'rendered category', 'rendered categories')}, not Caltech-256"
    if data.source == "caltech256":
        share = f"{data.objects} of its {_CALTECH_256}" if data.objects < _CALTECH_256 else f"{data.objects}"
        return f"Caltech-256 ({share} categories{' and clutter' if data.objects < number else ''})"
    return f"{count(number, 'category', 'categories')} of {data.origin}"


def verdict(judgement: Judgement, sensitivity: Sensitivity | None) -> str:
    """Return the verdict on a claim: `reproduced`, or `reproduced, fragile`."""
    return judgement.verdict + (", fragile" if sensitivity and sensitivity.fragile else "")


def fragility(sensitivity: Sensitivity | None) -> list[str]:
    """Return why a verdict is fragile; nothing if it is not, or if the claim was not judged."""
    if sensitivity is None:
        return []
    reasons = [f"without run {run}: {verdict}" for run, verdict in sensitivity.changed.items()]
    if sensitivity.by_class != sensitivity.verdict:
        reasons.append(f"by mean class recall: {sensitivity.by_class}")
    if (common := sensitivity.common) and common.opposed:
        reasons.append(
            f"with learning rate {common.learning_rate:g} and weight decay {common.weight_decay:g} for all nets: "
            f"{common.difference:+.1f} points on the validation images (standard error {common.standard_error:.1f})"
        )
    return reasons


def excluded(data: Data) -> str:
    """Return how many images were left out and why: `3 (duplicate: 2, not an image: 1)`."""
    reasons = ", ".join(f"{reason}: {number:,}" for reason, number in sorted(data.excluded_reasons.items()) if number)
    return f"{data.excluded:,}" + (f" ({reasons})" if reasons else "")
