"""Features of a frozen net: its penultimate layer, applied densely, averaged over space and the mirror image.

A file a scale holds the features of all images, (N, 4096) float32 at full width. It is mapped into memory while it is
filled, so that an interrupted stage continues with the images that are missing.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgg_ablation.appendix_b.nets import FEATURES_FILE, features_name
from vgg_ablation.device import Compute, matmul_rate
from vgg_ablation.files import file_digest, read_json, require_space, share, write_json
from vgg_ablation.images.batches import Batches, Colour
from vgg_ablation.images.index import PACKED, verify
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.images.rescale import rescaled_sizes
from vgg_ablation.model.dense import class_score_map
from vgg_ablation.model.published import DEVIATION, MEAN, SOURCE_FILE, WEIGHTS_FILE
from vgg_ablation.model.start import empty_net
from vgg_ablation.model.table1 import STRIDE, configuration, count_gmacs, fully_connected
from vgg_ablation.model.vgg import VGG
from vgg_ablation.model.weights import pack, read_weights, unpack
from vgg_ablation.runtime import messages
from vgg_ablation.runtime.checkpoints import BackgroundCheckpoints
from vgg_ablation.runtime.console import Console
from vgg_ablation.runtime.cost import Meter
from vgg_ablation.runtime.locks import locked
from vgg_ablation.runtime.state import source_digest, state_folder

SOURCES = (
    "appendix_b/features.py",
    "appendix_b/nets.py",
    "device.py",
    "images/batches.py",
    "images/index.py",
    "images/pixels.py",
    "images/rescale.py",
    "model/dense.py",
    "model/published.py",
    "model/start.py",
    "model/table1.py",
    "model/vgg.py",
    "model/weights.py",
)
"""Files of the package that `features.py` of appendix_b/ imports, without runtime/ and files.py."""

_PIXELS = 16 * 384 * 384  # per batch
_UNITS = 5  # layers of the classifier up to the second hidden layer's ReLU, which is the last of them


def extract_net(
    net: str,
    weights: Path,
    images: Path,
    folder: Path,
    *,
    scales: Sequence[int],
    relu: bool,
    compute: Compute,
    console: Console,
) -> None:
    """Write the features of all images at each scale, features.json and cost.csv to `folder`.

    Args:
        net: name of a net.
        weights: folder that `obtain_weights` wrote.
        images: folder that `pack_images` wrote.
        folder: to write to.
        scales: smallest sides Q in pixels.
        relu: whether features are taken after the hidden layer's ReLU.
        compute: device and precision.
        console: receives progress.

    Raises:
        OSError: a file cannot be read or written.
        StageError: an input is missing or damaged, or the disk is full.
    """
    network = empty_net(net)
    read_weights(weights / WEIGHTS_FILE, network)
    network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    verify(images, PACKED)
    pixels = Pixels.open(images)
    state = state_folder(
        "appendix-b-features",
        {
            "net": net,
            "configuration": configuration(net),
            "weights": file_digest(weights / WEIGHTS_FILE),
            "images": pixels.digest,
            "relu": relu,
            "source": source_digest(*SOURCES),
            **compute.names,
            "threads": torch.get_num_threads(),
        },
    )
    console.say(messages.computing_on(compute))
    meter = Meter()
    with locked(state, console.say):
        for scale in scales:
            extract(network, pixels, scale, relu=relu, compute=compute, folder=state, console=console, meter=meter)
        for scale in scales:
            share(state / features_name(scale), folder / features_name(scale))
    info = {
        "net": net,
        "weights": read_json(weights / SOURCE_FILE),
        "images_sha256": pixels.digest,
        "scales": list(scales),
        "relu": relu,
        "sha256": {features_name(scale): file_digest(folder / features_name(scale)) for scale in scales},
        **compute.names,
    }
    write_json(folder / FEATURES_FILE, info)
    threads, rate = torch.get_num_threads(), matmul_rate(compute)
    meter.write(folder, "features", arch=net, **compute.names, threads=threads, rate=rate)
    console.made(messages.features_extracted(folder, len(pixels.labels), scales))


@torch.inference_mode()
def pooled(network: VGG, inputs: Tensor, compute: Compute, *, relu: bool) -> Tensor:
    """Return the features (B, D) float32 of whole inputs (B, 3, H, W): the mean over positions and the mirror image.

    The ReLU, if any, comes before the mean.
    """
    layers = network.classifier
    network.classifier = layers[: _UNITS if relu else _UNITS - 1]  # appendix B: the last layer is removed
    try:
        with compute.autocast():
            maps = [class_score_map(network, shown).float() for shown in (inputs, inputs.flip(3))]
    finally:
        network.classifier = layers
    return torch.stack([values.mean(dim=(2, 3)) for values in maps]).mean(0)


def extract(
    network: VGG,
    pixels: Pixels,
    scale: int,
    *,
    relu: bool,
    compute: Compute,
    folder: Path,
    console: Console,
    meter: Meter,
) -> None:
    """Fill the file of features at one scale in `folder`, a state folder, from where an earlier process stopped.

    Batches hold images of one size, cut to whole steps between positions; see `Batches.whole`. The images that a
    checkpoint does not name are computed again, in the same batches.

    Raises:
        StageError: the disk is full.
    """
    images, width = len(pixels.labels), fully_connected(1, network.input_side, network.width)[1].outputs
    path, checkpoints = folder / features_name(scale), BackgroundCheckpoints(folder / f"done-{scale}", console.say)
    missing, seconds, number = torch.ones(images, dtype=torch.bool), 0.0, 0
    size = 4 * images * width
    if path.exists() and path.stat().st_size == size and (content := checkpoints.read()):
        saved = unpack(content, checkpoints.name)
        missing, seconds, number = saved["missing"], saved["seconds"].item(), int(saved["number"])
    else:
        require_space(folder, size)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later kills the process without a word
    with checkpoints, console.task(messages.features_at(scale), images, quiet=10.0) as task:
        for _ in range(images - int(missing.sum())):
            task.advance()
        if bool(missing.any()):
            rows = np.memmap(path, np.float32, mode="r+", shape=(images, width))
            colour = Colour(torch.tensor(MEAN), torch.tensor(DEVIATION), torch.zeros(3, 3))
            batches = Batches(pixels, colour, network.input_side, compute.device)
            began = time.perf_counter()
            for numbers, inputs in batches.whole(missing.nonzero().flatten(), _PIXELS, scale, multiple=STRIDE):
                start = time.perf_counter()
                rows[numbers.numpy()] = pooled(network, inputs, compute, relu=relu).cpu().numpy()
                missing[numbers] = False
                for _ in numbers:
                    task.advance()
                now = time.perf_counter()
                if checkpoints.due(now - start) or not missing.any():
                    rows.flush()  # before the checkpoint that counts on them
                    seconds, began, number = seconds + now - began, now, number + 1
                    state = {"missing": missing, "seconds": torch.tensor(seconds, dtype=torch.float64)}
                    content = pack({**state, "number": torch.tensor(number)})
                    checkpoints.keep(number, partial(list, [content]))
                    checkpoints.write_kept()
    meter.add(seconds, images, count_feature_gmacs(network, pixels, scale))


def count_feature_gmacs(network: VGG, pixels: Pixels, scale: int) -> float:
    """Count the multiply-accumulates (1e9) of the features of all images at a scale, mirror images included."""
    sizes = rescaled_sizes(pixels, torch.arange(len(pixels.labels)), scale) // STRIDE * STRIDE
    sizes, counts = sizes.unique(dim=1, return_counts=True)
    one = (
        count_gmacs(network.arch, 1, network.input_side, network.width, image=(height, width))
        for height, width in sizes.T.tolist()
    )
    return 2 * sum(count * gmacs for count, gmacs in zip(counts.tolist(), one, strict=True))
