"""Print the size of all nets, or one net layer by layer: `python -m vgg_ablation.model D --classes 257`."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser

from rich.console import Console
from rich.table import Table

from vgg_ablation.model.table1 import ARCHITECTURES, count_gmacs, count_parameters, steps, weight_layers
from vgg_ablation.paper.tables import TABLE_2
from vgg_ablation.runtime.names import plain


def size_table(classes: int, input_side: int, width: float) -> Table:
    """Return weight layers, parameters and GMAC of every net, and the parameters that Table 2 prints.

    Raises:
        ValueError: an argument is out of range.
    """
    table = Table(
        title=f"{classes} classes, {input_side}-pixel crops, width {width:g}",
        caption="Table 2: the paper's, for 1000 classes at 224 pixels",
    )
    table.add_column("net")
    for column in ("weight layers", "parameters", "GMAC", "Table 2 (millions)"):
        table.add_column(column, justify="right")
    for arch in ARCHITECTURES:
        table.add_row(
            arch,
            str(weight_layers(arch)),
            f"{count_parameters(arch, classes, input_side, width):,}",
            f"{count_gmacs(arch, classes, input_side, width):.2f}",
            str(TABLE_2.get(plain(arch), "–")),
        )
    return table


def layer_table(arch: str, classes: int, input_side: int, width: float) -> Table:
    """Return the layers of a net in the order of computation, and their sums.

    Raises:
        ValueError: an argument is out of range.
    """
    layers = steps(arch, classes, input_side, width)
    table = Table(
        title=f"{arch}: {classes} classes, {input_side}-pixel crops, width {width:g}",
        caption="for one crop; ReLU after every conv (after BN), fc6 and fc7",
        show_footer=True,
    )
    table.add_column("layer", footer="sum")
    table.add_column("kind")
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right", footer=f"{sum(layer.parameters for layer in layers):,}")
    table.add_column("MAC", justify="right", footer=f"{sum(layer.macs for layer in layers):,}")
    for layer in layers:
        shape = " x ".join(map(str, layer.outputs))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.macs:,}")
    return table


def main() -> None:
    """Read the command line and print the table."""
    parser = ArgumentParser(
        prog="python -m vgg_ablation.model", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "net", nargs="?", choices=ARCHITECTURES, metavar="NET", help="net to print layer by layer, such as D or D_BN"
    )
    parser.add_argument("--classes", type=int, default=1000, help="number of classes")
    parser.add_argument("--input-side", type=int, default=224, help="side of the crop in pixels, a multiple of 32")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels of every hidden layer")
    arguments = parser.parse_args()
    try:
        sizes = arguments.classes, arguments.input_side, arguments.width
        table = layer_table(arguments.net, *sizes) if arguments.net else size_table(*sizes)
    except ValueError as error:
        parser.error(str(error))
    Console().print(table)


if __name__ == "__main__":
    main()
