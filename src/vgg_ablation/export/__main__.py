"""Write a trained net as a folder for others: weights, model card, class names and ONNX.

`python -m vgg_ablation.export results/batch/D/fixed`, in the repository that the net was trained in.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from vgg_ablation.analysis.study import read_study
from vgg_ablation.export.card import render_card
from vgg_ablation.files import write_bytes, write_text
from vgg_ablation.predict.nets import METRICS, TrainedNet
from vgg_ablation.runtime.console import stage
from vgg_ablation.runtime.params import read_params
from vgg_ablation.runtime.paths import weights_file
from vgg_ablation.runtime.provenance import describe_commit
from vgg_ablation.runtime.settings import StudySettings

CARD, CLASSES = "README.md", "classes.txt"


def export(net: TrainedNet, folder: Path) -> bool:
    """Write the folder; return whether it has ONNX files, for which the packages of the group `export` are needed.

    Raises:
        OSError: a file cannot be read or written.
        StageError: results are missing, damaged or of other images than those in data/processed, or the disk is full.
    """
    params = read_params()
    study = read_study(net.record.arch, net.record.scale, params.study, params.whole(StudySettings))
    runs = dict(zip(net.weights, net.read(), strict=True))
    description = next(iter(runs.values())).description
    try:
        from vgg_ablation.export.onnx import write_onnx
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime", "onnxscript"):
            raise
        write_onnx = None
    for run, path in net.weights.items():
        write_bytes(weights_file(folder, run), path.read_bytes())
        if write_onnx:
            write_onnx(folder / f"run-{run}.onnx", runs[run])
    write_bytes(folder / METRICS, net.metrics.read_bytes())
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in description.classes))
    write_text(folder / CARD, render_card(net, description, study, describe_commit(), onnx=bool(write_onnx)))
    return bool(write_onnx)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and write the folder."""
    parser = ArgumentParser(prog="python -m vgg_ablation.export", description=__doc__)
    parser.add_argument("net", help="folder of a net's results, or name of a net, such as D")
    parser.add_argument("--folder", type=Path, help="to write to (default: exports/NET-SCALE)")
    given = parser.parse_args(arguments)
    with stage("export", saved=""):
        net = TrainedNet.open(given.net)
        folder = given.folder or Path("exports") / f"{net.record.arch}-{net.record.scale}"
        onnx = export(net, folder)
        print(f"{folder}: {CARD}, {CLASSES}, {METRICS}, weights of {len(net.weights)} runs{', ONNX' if onnx else ''}")
        if not onnx:
            print("ONNX left out: onnx, onnxruntime and onnxscript are not installed")


if __name__ == "__main__":
    main()
