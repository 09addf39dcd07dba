"""Print the most probable classes of images, averaged over the runs of a net.

`python -m vgg_ablation.predict results/batch/D/fixed photo.jpg folder`
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgg_ablation.dataset.decode import UnusableError
from vgg_ablation.device import choose_compute
from vgg_ablation.evaluate.metrics import TOP_K
from vgg_ablation.predict.classify import classify, read_image, stored_side
from vgg_ablation.predict.nets import TrainedNet
from vgg_ablation.runtime.console import stage
from vgg_ablation.text import printable

_AT_ONCE = 64  # images in memory


def image_files(given: Sequence[Path]) -> Iterator[Path]:
    """Yield files as they are given, and those in folders at any depth, sorted, but hidden ones."""
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            yield from (file for file in inside if not file.name.startswith("."))
        else:
            yield path


def predict(net: TrainedNet, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield for each file its `path` and its most probable `classes`, or an `error`.

    Raises:
        OSError: the weights cannot be read.
        StageError: as `TrainedNet.read` and `choose_compute`.
    """
    runs, view, compute = net.read(), net.view, choose_compute(torch.get_num_threads())
    description = runs[0].description
    for start in range(0, len(files), _AT_ONCE):
        answers: list[dict[str, Any]] = []
        images: list[np.ndarray] = []
        for path in files[start : start + _AT_ONCE]:
            answers.append({"path": str(path)})
            try:
                images.append(read_image(path, stored_side(description, view)))
            except UnusableError as error:
                answers[-1]["error"] = str(error)
        found = iter(classify(runs, images, view, compute)) if images else iter(())
        for answer in answers:
            if "error" not in answer:
                best = next(found).topk(min(TOP_K, len(description.classes)))
                pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                answer["classes"] = [
                    {"name": description.classes[label], "posterior": round(share, 6)} for label, share in pairs
                ]
            yield answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and print the classes."""
    parser = ArgumentParser(prog="python -m vgg_ablation.predict", description=__doc__)
    parser.add_argument("net", help="folder of a net's results, exported folder, or name of a net, such as D")
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    with stage("predict", saved=""):
        net = TrainedNet.open(given.net)
        described = {
            "net": net.record.arch,
            "scale": net.record.scale,
            "runs": list(net.weights),
            "method": net.view.method,
            "test_scale": net.view.scale,
        }
        if not given.json:
            print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in described.items()))
        answers: list[dict[str, Any]] = []
        for answer in predict(net, list(image_files(given.images))):
            answers.append(answer)
            if "error" in answer:
                print(f"predict: {printable(answer['path'])}: {answer['error']}", file=sys.stderr)
            elif not given.json:
                print(printable(answer["path"]))
                for each in answer["classes"]:
                    print(f"  {100 * each['posterior']:5.1f} %  {printable(each['name'])}")
        if given.json:
            print(json.dumps({**described, "images": answers}, indent=2))
        if not answers:
            print("predict: no files in these folders", file=sys.stderr)
    if not answers or any("error" in answer for answer in answers):
        sys.exit(1)


if __name__ == "__main__":
    main()
