"""Results of the search for learning rate and weight decay."""

import warnings

import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from vgg_ablation.analysis.records import Net
from vgg_ablation.analysis.study import Study
from vgg_ablation.paper import recipe

FEWEST_TRIALS = 4
"""Trials below which no importance is computed."""


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that ran to their end, and neither diverged nor stayed at chance."""
    return trials[(trials["outcome"] == "") & (trials["state"] == "complete")]


def paper_was_tried(study: Study) -> bool:
    """Return whether the paper's learning rate and weight decay are among every net's trials."""
    trials = study.trials
    tried = (trials["learning_rate"] == recipe.LEARNING_RATE) & (trials["weight_decay"] == recipe.WEIGHT_DECAY)
    return set(study.archs) <= set(trials[tried]["arch"])


def importance(net: Net, trials: pd.DataFrame) -> dict[str, float] | None:
    """Return how much learning rate and weight decay each matter to a net's validation accuracy, shares of 1.

    PED-ANOVA (Watanabe et al. 2023), as Optuna has it, of the better half of the trials that ran to their end against
    all of them; a diverged one counts with accuracy 0. None with too few trials.
    """
    ended = trials[(trials["arch"] == net.arch) & (trials["state"] == "complete")]
    if len(ended) < FEWEST_TRIALS:
        return None
    space = {name: FloatDistribution(*net.tuned.space[name], log=True) for name in ("learning_rate", "weight_decay")}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        search = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    for row in ended.to_dict("records"):
        search.add_trial(
            optuna.create_trial(
                params={name: row[name] for name in space},
                distributions=dict(space),
                value=row["validation_accuracy"],
            )
        )
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            shares = get_param_importances(search, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.5))
    except UserWarning:  # Optuna's way to say that it cannot tell
        return None
    return {name: float(shares[name]) for name in space}
