"""The model card of an exported net: README.md with data, recipe, errors, licence, and how to load it."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vgg_ablation.analysis.rows import ablation, side
from vgg_ablation.analysis.study import Study
from vgg_ablation.model.table1 import NETS, convolution_groups, fully_connected
from vgg_ablation.model.weights import Description
from vgg_ablation.predict.nets import TrainedNet
from vgg_ablation.report import words
from vgg_ablation.report.table import count, decimal, inert, interval
from vgg_ablation.runtime.names import norm_of


def render_card(net: TrainedNet, description: Description, study: Study, commit: str, *, onnx: bool) -> str:
    """Return the card.

    Args:
        net: the exported net.
        description: description of its weights.
        study: the results of this net.
        commit: commit of the code that exports it; empty if unknown.
        onnx: whether there are ONNX files.
    """
    environment = Environment(
        loader=PackageLoader("vgg_ablation.export"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,  # noqa: S701 - Markdown; names are made inert
    )  # fmt: skip
    environment.filters |= {"decimal": decimal, "inert": inert, "side": side}
    return environment.get_template("card.md.jinja").render(
        net=net,
        record=net.record,
        norm=norm_of(net.record.arch),
        description=description,
        data=study.data,
        rows=ablation(study),
        layers=layers(description),
        commit=commit,
        onnx=onnx,
        words=words,
        count=count,
        interval=interval,
        runs=[path.name.removesuffix(".safetensors") for path in net.weights.values()],
    )


def layers(description: Description) -> dict[str, Any]:
    """Return the numbers of the card's code: (inputs, outputs, kernel, what follows) by convolution; FC sizes."""
    arch, width = description.arch, description.width
    convolutions = []
    for group in convolution_groups(arch, description.input_side, width):
        for layer in group:
            # torch takes the mean over channels where Krizhevsky et al. sum: alpha is five times theirs.
            after = ["LocalResponseNorm(5, 5e-4, 0.75, 2)"] * (layer.name == NETS[arch].lrn)
            after += ["MaxPool2d(2)"] * (layer is group[-1])
            convolutions.append(f"({layer.inputs}, {layer.outputs}, {layer.kernel}, [{', '.join(after)}])")
    fc6, fc7, fc8 = fully_connected(len(description.classes), description.input_side, width)
    return {"convolutions": convolutions, "sizes": (fc6.kernel**2 * fc6.inputs, fc7.inputs, fc8.inputs, fc8.outputs)}
