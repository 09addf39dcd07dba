"""A study's settings: each folder's settings composed, and what must agree between them. Imports no torch."""

from pydantic import BaseModel, ConfigDict, model_validator

from vgg_ablation.data.settings import SCALES, DataSettings, ScalesSettings
from vgg_ablation.evaluate.settings import EvaluateSettings
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.pipeline.params import ComputeSettings
from vgg_ablation.train.settings import FineTuneSettings, TrainSettings, TuneSettings

SELECTIONS = (*SCALES, "all")
"""What `scale` at the top of `params.yaml` may be."""

_MARGIN = 4  # pixels: an image that is rescaled while it is cropped is read a little beyond the crop


class StudySettings(BaseModel):
    """One block of `studies` in `params.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSettings
    scales: ScalesSettings
    compute: ComputeSettings
    model: ModelSettings
    train: TrainSettings
    fine_tune: FineTuneSettings
    tune: TuneSettings
    evaluate: EvaluateSettings

    @model_validator(mode="after")
    def _crop_fits(self) -> "StudySettings":
        side = self.model.input_side
        fixed, large, jitter = self.scales.fixed, self.scales.large, self.scales.jitter
        least = {
            "fixed.train": (side, fixed.train),
            "large.train": (side + _MARGIN, large.train),
            "jitter.train": (side + _MARGIN, jitter.train[0]),
            **{f"{name}.test": (side, self.scales.of(name).test[0]) for name in SCALES},
        }
        # Centre crops are cut at the single test scale; whole images are rescaled before anything is cut from them.
        for name in SCALES:
            if (single := self.scales.of(name).single) != fixed.train:
                least[f"{name}.test[1]"] = (side + _MARGIN, single)
        for name, (needed, found) in least.items():
            if found < needed:
                beyond = f" plus {needed - side}" if needed > side else ""
                raise ValueError(
                    f"scales.{name} ({found}) at least model.input_side{beyond} ({needed}), "
                    "as crops are cut from the rescaled images"
                )
        return self
