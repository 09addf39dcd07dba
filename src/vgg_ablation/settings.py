"""A study's settings: each folder's settings composed, and what must agree between them. Imports no torch."""

from pydantic import BaseModel, ConfigDict, model_validator

from vgg_ablation.data.settings import DataSettings
from vgg_ablation.evaluate.settings import EvaluateSettings
from vgg_ablation.model.settings import ModelSettings
from vgg_ablation.train.settings import TrainSettings, TuneSettings


class StudySettings(BaseModel):
    """One block of `studies` in `params.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSettings
    model: ModelSettings
    train: TrainSettings
    tune: TuneSettings
    evaluate: EvaluateSettings

    @model_validator(mode="after")
    def _crop_fits(self) -> "StudySettings":
        if self.model.input_side > self.data.side:
            raise ValueError(
                f"model.input_side ({self.model.input_side}) at most data.side ({self.data.side}), "
                "as crops are cut from the stored images"
            )
        return self
