import numpy as np
import pandas as pd

from vgg_ablation.evaluate.calibration import BINS, bin_numbers


def test_bins_are_those_of_pandas_closed_on_the_right() -> None:
    ends = np.arange(BINS + 1) / BINS
    confidence = np.concatenate([np.random.default_rng(0).random(1000), ends[1:]])
    np.testing.assert_array_equal(bin_numbers(confidence), pd.cut(confidence, ends.tolist(), labels=False))
