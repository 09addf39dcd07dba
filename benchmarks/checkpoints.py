"""Cost of checkpoints: `python -m benchmarks.checkpoints`.

Writes checkpoints of a net of full width to this disk, and as if the disk were slow, and prints how long training stops
for one: if it waited until the file is written, and as it is, for the copy alone. A GPU is used where there is one.
"""

import time
from argparse import ArgumentParser
from collections.abc import Sequence

import torch
from tabulate import tabulate

from vgg_ablation.device import Compute, choose_compute
from vgg_ablation.model.table1 import PLAIN
from vgg_ablation.model.vgg import VGG
from vgg_ablation.parallel.pace import CheckpointTimes, measure_checkpoint
from vgg_ablation.runtime.checkpoints import SECONDS, BackgroundCheckpoints
from vgg_ablation.runtime.console import stage
from vgg_ablation.train.step import TrainingStep

SLOW = 100e6
"""Bytes a second that the slow disk writes."""


class SlowDisk(BackgroundCheckpoints):
    """Checkpoints on a disk that writes `SLOW` bytes a second."""

    def write(self, number: int, *content: bytes | memoryview) -> None:
        """Write as `Checkpoints.write`, after the time that the slow disk takes."""
        time.sleep(sum(map(len, content)) / SLOW)
        super().write(number, *content)


def measure(
    network: VGG, compute: Compute, kind: type[BackgroundCheckpoints] = BackgroundCheckpoints
) -> CheckpointTimes:
    """Measure a checkpoint of a net, which is moved to the device."""
    network.to(compute.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    step = TrainingStep(network, compute, learning_rate=0.01, momentum=0.9, weight_decay=0.0, largest=1)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    step.optimiser.step()  # creates the momentum
    return measure_checkpoint(step, kind)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--arch", choices=PLAIN, default="A", help="net (default: A)")
    parser.add_argument("--width", type=float, default=1.0, help="factor on its channels (default: 1)")
    chosen = parser.parse_args(arguments)
    with stage("checkpoints", saved="") as console:
        compute = choose_compute(1)
        network = VGG(chosen.arch, 256, width=chosen.width)
        disks = {"this one": BackgroundCheckpoints, f"{SLOW / 1e6:.0f} MB/s": SlowDisk}
        rows = []
        for name, kind in disks.items():
            times = measure(network, compute, kind)
            cells = (f"{seconds:.2f} s {100 * seconds / SECONDS:5.1f} %" for seconds in (times.written, times.copied))
            rows.append([name, *cells])
        console.say(f"net {chosen.arch} of width {chosen.width:g} on {compute}: training stops for one checkpoint,")
        console.say(f"seconds, and their share of the {SECONDS:g} s between two checkpoints")
        print(tabulate(rows, headers=["disk", "until written", "until copied"], stralign="right"))


if __name__ == "__main__":
    main()
