"""Texts of the lines that people see while a stage runs. Rewording one reruns nothing.

Small functions over plain values. Errors have their texts where they are raised.
"""

from collections.abc import Mapping, Sequence

# Training and search.


def computing_on(compute: object) -> str:
    """`computing on cpu in bfloat16`."""
    return f"computing on {compute}"


def resuming(epoch: int, epochs: int) -> str:
    """Progress: a run continues after a checkpoint."""
    return f"resuming after epoch {epoch}/{epochs}"


def epoch_trained(
    train_loss: float, train_error: float, accuracy: float | None, learning_rate: float, images_per_second: float
) -> str:
    """Loss in nats, error and accuracy in percent; accuracy is None without validation images."""
    validation = "" if accuracy is None else f", validation accuracy {accuracy:.1f} %"
    trained = f"training loss {train_loss:.3f}, training error {train_error:.1f} %{validation}"
    return f"{trained}, lr {learning_rate:.1e}, {images_per_second:,.0f} images/s"


def starting_net_trained(net: str, epoch: int, epochs: int, train_loss: float) -> str:
    """Progress: an epoch of the net A whose layers a deeper net starts from."""
    return f"net {net} (initial weights): epoch {epoch}/{epochs}, training loss {train_loss:.3f}"


def split_batch(too_much: str, at_once: int) -> str:
    """Warning: memory ran out for `too_much`."""
    return f"{too_much} at once; continuing with {at_once} images per pass"


def did_not_train(run: int, runs: int, reason: str) -> str:
    """A run diverged or stayed at chance."""
    return f"run {run + 1}/{runs} did not train: {reason}"


def runs_trained(folder: object, runs: int, epochs: int) -> str:
    """Closing line of `train`."""
    return f"{folder}: {runs} runs of {epochs} epochs"


def trial_finished(point: Mapping[str, float], accuracy: float, epochs: int, state: str, outcome: str) -> str:
    """`point`: values by name; `state`: complete or pruned; `outcome`: diverged, exploded, at chance or nothing."""
    numbers = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in point.items()}
    values = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())
    ended = f"{state}, {outcome}" if outcome else state
    return f"{values}: validation accuracy {accuracy:.1f} % in {epochs} epochs, {ended}"


def search_finished(path: object, best: str) -> str:
    """Closing line of `tune`; `best`: line about the best trial."""
    return f"{path}: {best}"


def retrying(storage: str, reason: str, wait: float) -> str:
    """The database of the trials cannot be reached."""
    return f"{storage}: {reason}; retrying in {wait:g} s"


# Evaluation and aggregation.


def top1_errors(errors: Mapping[str, float]) -> str:
    """Errors in percent by protocol."""
    return "top-1 error " + ", ".join(f"{protocol} {error:.1f} %" for protocol, error in errors.items())


def evaluated(folder: object, errors: Mapping[str, float]) -> str:
    """Closing line of `evaluate`; the errors are means over runs."""
    return f"{folder}: {top1_errors(errors)}"


def merged(folder: object) -> str:
    """Closing line of `aggregate`."""
    return f"{folder}: results merged"


# Stages download, preprocess and near-duplicates.

DOWNLOADING = "downloading MB"
RENDERING = "rendering"
GATHERING = "gathering"
PACKING = "packing"
HASHING = "hashing"
COMPARING = "comparing"


def download_started(address: str, size: int | None, offset: int) -> str:
    """`size` and `offset` in bytes."""
    known = f" ({size / 1e9:.2f} GB)" if size is not None else ""
    return f"downloading {address}{known}" + (f", resuming at byte {offset:,}" if offset else "")


def download_of_unknown_size() -> str:
    """Instead of progress."""
    return "the server does not tell the size; no progress is shown"


def download_retried(address: str, reason: str, seconds: float) -> str:
    """`seconds` until the next attempt."""
    return f"{address}: {reason}; trying again in {seconds:.0f} s"


def next_address(reason: str) -> str:
    """`reason` names the address that failed."""
    return f"{reason}: trying the next address"


def images_found(source: str, categories: Mapping[str, int], parts: Mapping[str, int]) -> str:
    """Before any work: files by category, and by part of a ready-made split."""
    least, most = min(categories.values()), max(categories.values())
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    split = ", ".join(f"{part} {number:,}" for part, number in parts.items())
    number = f"{len(categories):,} {'category' if len(categories) == 1 else 'categories'}"
    found = f"{source}: {number} of {each} files, {sum(categories.values()):,} in all"
    return f"{found}; split by folders: {split}" if split else found


def left_out(reasons: Mapping[str, int], first: Mapping[str, str]) -> str:
    """Files by reason, with the first of each."""
    each = ", ".join(f"{reason}: {number:,} ({first[reason]})" for reason, number in sorted(reasons.items()))
    return f"left out: {each}"


def decompressing(source: str, size: int) -> str:
    """`size` in bytes."""
    return f"decompressing {source} ({size / 1e6:,.1f} MB)"


def archive_made(path: str, size: int, source: str) -> str:
    """Closing line of download; `size` in bytes."""
    return f"{path}: {size / 1e6:,.1f} MB from {source}"


def images_packed(folder: str, images: int, categories: int, excluded: int) -> str:
    """Closing line of preprocess."""
    return f"{folder}: {images} images of {categories} categories ({excluded} files excluded)"


def near_duplicates_found(path: str, pairs: int, images: int, faint: int) -> str:
    """Closing line of near_duplicates."""
    return f"{path}: {pairs} pairs among {images} images ({faint} with too little contrast to compare)"


# Appendix B.


def weights_converted(path: object, file: str, published: bool) -> str:
    """Closing line of `weights`."""
    return f"{path}: converted from {file}" + ("" if published else ", which is not torchvision's")


def features_at(scale: int) -> str:
    """Progress: images at one test scale."""
    return f"features at Q = {scale}"


def features_extracted(folder: object, images: int, scales: Sequence[int]) -> str:
    """Closing line of `features`."""
    return f"{folder}: features of {images:,} images at Q = {', '.join(map(str, scales))}"


def classified(name: str, split: int, recall: float, penalty: float, at_edge: bool) -> str:
    """Progress: `recall` in percent; `at_edge`: the best C is an end of the grid."""
    edge = " (an end of the grid)" if at_edge else ""
    return f"{name}, split {split}: mean class recall {recall:.1f} %, C = {penalty:g}{edge}"


def classifiers_fitted(folder: object, fits: int) -> str:
    """Closing line of `classify`."""
    return f"{folder}: {fits} classifiers"
