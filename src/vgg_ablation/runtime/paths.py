"""Paths of the stages' files, relative to the repository's root: one output folder per stage."""

from pathlib import Path

from vgg_ablation.runtime.names import norm_of, plain

SETTINGS_VALID = Path("data/settings-are-valid.txt")
ARCHIVE = Path("data/raw/256_ObjectCategories.tar")
PROCESSED = Path("data/processed")
"""Packed images, their index, splits and summary."""
NEAR_DUPLICATES = Path("data/near-duplicates")
RESULTS = Path("results")
REPORTS = Path("reports")
APPENDIX_B_DATA = Path("data/appendix-b")
"""Settings check, archive and packed images of appendix B."""
APPENDIX_B_VALID = APPENDIX_B_DATA / "settings-are-valid.txt"
APPENDIX_B_ARCHIVE = APPENDIX_B_DATA / "raw" / ARCHIVE.name
APPENDIX_B_IMAGES = APPENDIX_B_DATA / "images"
APPENDIX_B_REPORT = REPORTS / "appendix-b"


def search(arch: str, results: Path = RESULTS) -> Path:
    """Return the folder of a net's search: `best.json`, `trials.csv`. `arch` is a name that `names.named` returns."""
    return _folder(arch, results) / "search"


def training(arch: str, scale: str, results: Path = RESULTS) -> Path:
    """Return the folder of a net's runs at one training scale: `weights/`, `curves.csv`, `training.json`."""
    return _folder(arch, results) / scale / "training"


def weights_file(folder: Path, run: int) -> Path:
    """Return the file of a run's weights in a folder that `training` returns."""
    return folder / "weights" / f"run-{run}.safetensors"


def evaluation(arch: str, scale: str, results: Path = RESULTS) -> Path:
    """Return a net's folder at one training scale of `predictions.npz`, `decisions.npz` and `metrics.json`."""
    return _folder(arch, results) / scale / "evaluation"


def appendix_b(arch: str, part: str, results: Path = RESULTS) -> Path:
    """Return a net's folder of appendix B; `part` is `weights`, `features` or `classification`."""
    return _folder(arch, results / "appendix-b") / part


def _folder(arch: str, results: Path) -> Path:
    """Return the folder of all results of a net: `results/batch/C` of `C_BN`."""
    return results / norm_of(arch) / plain(arch)
