"""The report's text, made from the data: the same sections for the Markdown file and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from vgg_ablation.report import tables
from vgg_ablation.report.inputs import Data, Net, Study
from vgg_ablation.report.order import LEVEL, Comparison, agreement, compare_neighbours
from vgg_ablation.report.published import PAPER_POINT
from vgg_ablation.report.tables import SETTINGS, Row, Table, agreed

CALTECH_256_CATEGORIES = 256
CLUTTER = "257.clutter"


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, in this order. Text may hold `code`."""

    name: str
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def title(study: Study) -> str:
    """Return the report's first line: it names the data, so that nobody takes rendered images for Caltech-256."""
    return f"VGG depth ablation on {describe(study.data)} (study `{study.name}`)"


def describe(data: Data) -> str:
    """Return what the images are."""
    number = len(data.categories)
    if data.source == "sample":
        return f"{count(number, 'rendered category', 'rendered categories')}, not Caltech-256"
    if data.source == "caltech256":
        objects = number - (CLUTTER in data.categories)
        share = f"{objects} of its 256" if objects < CALTECH_256_CATEGORIES else f"{objects}"
        return f"Caltech-256 ({share} categories{' and clutter' if objects < number else ''})"
    return f"{count(number, 'category', 'categories')} of `{data.origin}`"


def lead(study: Study) -> str:
    """Return what was run on what, in a few sentences."""
    data, nets = study.data, study.nets
    several = len(nets) > 1
    runs = agreed({net.arch: count(len(net.runs), "run") for net in nets})
    text = (
        f"{'Nets' if several else 'Net'} {', '.join(net.arch for net in nets)}; {runs}{' each' if several else ''}, at "
        "the learning rate and weight decay tuned for the net; run r has split r and seed r in every net. "
        f"{count(data.images, 'image')}, in each split {data.train:,} to train on, {data.validation:,} to validate on "
        f"and {data.test:,} to test on; {data.greyscale:,} greyscale; {data.excluded:,} excluded"
        f"{tables.reasons(data)}."
    )
    if data.source == "sample":
        text += " The images are drawn by a program: they show that the pipeline works, and say nothing of photographs."
    return text


def sections(study: Study, rows: Sequence[Row]) -> list[Section]:
    """Return the report's sections; `rows` are those of `tables.ablation`."""
    comparisons = compare_neighbours(study.nets, study.protocols[0])
    return [
        result(study, rows),
        order(study, rows, comparisons),
        tuning(study),
        untrained(study.nets),
        training(study.nets),
        images(study.data),
    ]


def result(study: Study, rows: Sequence[Row]) -> Section:
    """Return the errors beside the paper's, a table a protocol."""
    nets = study.nets
    chance = {net.arch: f"{100 * (1 - 1 / net.classes):.1f} %" for net in nets}
    shown = [
        tables.result_table([row for row in rows if row.protocol == protocol], caption_of(protocol, nets))
        for protocol in study.protocols
    ]
    compared = (
        f"Guessing has a top-1 error of {agreed(chance)}. The paper's errors are those of ImageNet's 1000 classes "
        "(Table 3, S = 256), with nets of full width on 224-pixel crops: compare the order, not the values."
    )
    notes = ["Means over runs. " + _interval_note(nets), compared]
    if any(net.did_not_train for net in nets):
        notes.append("Runs that did not train stay in the means and in the intervals.")
    return Section("result", "Error by net", (), tuple(shown), tuple(notes))


def _interval_note(nets: Sequence[Net]) -> str:
    single = [net.arch for net in nets if len(net.runs) == 1]
    several = (
        "Brackets hold the 95 % interval of the expected error over splits and seeds: Student's t over the runs, never "
        "narrower than Wilson's interval from the test images of one run. Splits draw from the same images, so runs "
        "are not quite independent and the intervals are rather too narrow than too wide."
    )
    one = (
        "With one run, brackets hold Wilson's 95 % interval from its test images alone: it leaves out how the error "
        "varies between splits and between seeds."
    )
    if not single:
        return several
    return one if len(single) == len(nets) else f"{several} {one} (So for {', '.join(single)}.)"


def caption_of(protocol: str, nets: Sequence[Net]) -> str:
    """Return what a protocol does to a test image."""
    side = agreed({net.arch: str(net.input_side) for net in nets})
    scale = agreed({net.arch: str(net.test_scale) for net in nets})
    if protocol == "dense":
        return f"Dense: the whole image with smallest side {scale}, averaged over positions and over its mirror image"
    if protocol == "centre":
        return f"Centre: one crop of {side} pixels out of the image with smallest side {scale}"
    return protocol.capitalize()


def order(study: Study, rows: Sequence[Row], comparisons: Sequence[Comparison]) -> Section:
    """Return what the data allow to say about the nets' order."""
    text = (summary(study, comparisons), *_ranking(rows, study.protocols[0]))
    if not comparisons:
        return Section("order", "What the data say about the order", text)
    note = (
        "A difference is the second net's top-1 error less the first's, over runs of the same split and seed; its "
        "standard error is never taken below what the test images of one run allow. Its 95 % interval is for that "
        "pair alone, its p-value is corrected for all pairs. An undecided pair is not an equal pair: the interval "
        "shows what may hide in it. The paper's differences are those at S = 256."
    )
    return Section("order", "What the data say about the order", text, (tables.order_table(comparisons),), (note,))


def summary(study: Study, comparisons: Sequence[Comparison]) -> str:
    """Return the finding in a sentence or two."""
    if len(study.nets) == 1:
        return f"Only net {study.nets[0].arch} was run, so no comparison between nets is possible."
    if not comparisons:
        return (
            "No comparison is possible: it takes neighbouring nets with two runs or more of the same splits and seeds. "
            "With fewer, a difference between nets cannot be told from one between seeds."
        )
    resolved = [one for one in comparisons if one.better]
    undecided = [one for one in comparisons if not one.better]
    runs = " or ".join(str(number) for number in sorted({one.difference.runs for one in comparisons}))
    method = f"{study.protocols[0]}; paired t over {runs} runs, Holm-corrected, level {100 * LEVEL:.0f} %"
    told = f": {', '.join(map(_resolved, resolved))}." if resolved else "."
    if len(comparisons) == 1:
        can = "can" if resolved else "cannot"
        verdict = f"The paper's claim on it is {comparisons[0].verdict}."
        return f"The only neighbouring pair {can} be told apart ({method}){told} {verdict}"
    sentences = [
        f"{len(resolved) or 'None'} of the {len(comparisons)} neighbouring pairs can be told apart ({method}){told}"
    ]
    if undecided:
        named = ", ".join(f"{one.claim.first}/{one.claim.second}" for one in undecided)
        sentences.append(f"Undecided: {named}.")
    verdicts = [one.verdict for one in comparisons]
    tally = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("supported", "contradicted", "undecided"))
    sentences.append(f"Of the paper's {len(verdicts)} claims on these pairs: {tally}.")
    return " ".join(sentences)


def _resolved(one: Comparison) -> str:
    worse = one.claim.first if one.better == one.claim.second else one.claim.second
    return f"{one.better} below {worse} by {abs(one.difference.mean):.1f} points"


def _ranking(rows: Sequence[Row], protocol: str) -> tuple[str, ...]:
    means = {row.arch: row.top1_error for row in rows if row.protocol == protocol}
    if len(means) < 2:
        return ()
    ranked = ", ".join(f"{arch} {means[arch]:.1f}" for arch in sorted(means, key=lambda arch: means[arch]))
    tau = agreement(means)
    kendall = "" if tau is None else f"; Kendall's tau-b with the paper's order at S = 256 is {tau:.2f}"
    return (
        f"Mean errors, lowest first: {ranked}{kendall}. These are point estimates and settle nothing by themselves.",
    )


def tuning(study: Study) -> Section:
    """Return what the search chose, and where it may have been cut short by the space's edge."""
    nets = study.nets
    trials = count(sum(net.tuned.trials for net in nets), "trial")
    epochs = agreed({net.arch: count(net.tuned.epochs, "epoch") for net in nets})
    seen = count(sum(net.tuned.images for net in nets), "training image")
    spaces = [
        f"{label} {agreed({net.arch: '{:g} to {:g}'.format(*net.tuned.space[setting]) for net in nets})}"
        for setting, label in SETTINGS.items()
    ]
    text = (
        f"Each net has its own search on the validation images of split 0, log-uniform over {' and '.join(spaces)}: "
        f"{trials} of {epochs}, or fewer where one ended early, and {seen} in all."
    )
    if _paper_was_tried(study):
        text += " The paper's learning rate 0.01 and weight decay 0.0005 are among every net's trials."
    notes = [
        f"The {SETTINGS.get(setting, setting)} chosen for {net.arch} sits at the edge of its space: "
        "a better one may lie outside."
        for net in nets
        for setting in net.tuned.at_edge
    ]
    if any(net.tuned.diverged or net.tuned.at_chance for net in nets):
        notes.append("Trials that diverged or ended at chance are counted among the complete and pruned ones too.")
    return Section("tuning", "Tuning", (text,), (tables.tuning_table(nets),), tuple(notes))


def _paper_was_tried(study: Study) -> bool:
    learning_rate, weight_decay = PAPER_POINT
    trials = study.trials
    tried = trials[(trials["learning_rate"] == learning_rate) & (trials["weight_decay"] == weight_decay)]
    return {net.arch for net in study.nets} <= set(tried["arch"])


def untrained(nets: Sequence[Net]) -> Section:
    """Return what did not train: runs one by one, trials by number."""
    runs = sum(len(net.runs) for net in nets)
    failed = sum(net.did_not_train for net in nets)
    if failed:
        text = f"{failed} of {count(runs, 'run')} did not train."
    else:
        text = "Every run trained." if runs > 1 else "The run trained."
    trials = sum(net.tuned.trials for net in nets)
    diverged, at_chance = sum(net.tuned.diverged for net in nets), sum(net.tuned.at_chance for net in nets)
    of_trials = (
        f"Of the search's {count(trials, 'trial')}, {diverged} diverged and {at_chance} were at chance when they ended."
    )
    table = tables.untrained_table(nets)
    return Section("untrained", "What did not train", (f"{text} {of_trials}",), (table,) if table else ())


def training(nets: Sequence[Net]) -> Section:
    """Return how the nets were trained."""
    return Section("training", "How the nets were trained", (), (tables.training_table(nets),))


def images(data: Data) -> Section:
    """Return what the images are and how they were split."""
    text = f"The images are {describe(data)}. Every net sees the same splits; test images serve for testing alone."
    return Section("images", "Images", (text,), (tables.data_table(data),))


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `5 runs`, `12,000 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
