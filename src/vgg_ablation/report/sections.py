"""The report's text, made from the data: the same sections for the Markdown file and for the page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vgg_ablation.analysis import classes, fairness
from vgg_ablation.analysis.agreement import FEWEST, Agreement, agreement
from vgg_ablation.analysis.claims import SHALLOW, Judgement, judge
from vgg_ablation.analysis.comparisons import Comparison, compare_all
from vgg_ablation.analysis.statistics import CONFIDENCE, LEVEL, POWER
from vgg_ablation.analysis.study import Data, Net, Study
from vgg_ablation.model.table1 import ABLATION
from vgg_ablation.paper import LEARNING_RATE, SINGLE_SCALE, TORCHVISION, WEIGHT_DECAY, Errors
from vgg_ablation.report import paper_tables, tables
from vgg_ablation.report.class_figures import BINS
from vgg_ablation.report.paper_tables import IMAGENET_CLASSES, IMAGENET_SIDE
from vgg_ablation.report.tables import NONE, PROTOCOL_WORDS, SETTINGS, Number, Row, Table, agreed
from vgg_ablation.runtime.settings import SCALES

CALTECH_256_CATEGORIES = 256
CLUTTER = "257.clutter"
DETECTABLE = f"detectable with power {100 * POWER:.0f} % after Holm, points"
INTERVAL = f"{100 * CONFIDENCE:.0f} % interval"
VERDICTS = ("reproduced", "contradicted", "undecided")
"""On claims that the study bears on."""
_DEPTH = {
    "reproduced": "the error falls with depth here, as the paper claims",
    "contradicted": "the error rises with depth here, against the paper's claim",
    "undecided": "whether the error falls with depth is undecided here",
}
"""The verdicts on the claim of depth, in words."""


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, in this order. Text may hold `code`."""

    key: str
    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """A published order of nets, and how far ours agrees with it."""

    whose: str
    scale: str
    protocol: str
    """Ours is that of the errors at this training scale under this protocol."""
    agreement: Agreement


@dataclass(frozen=True)
class Findings:
    """What follows from a study, each part computed once."""

    study: Study
    rows: list[Row]
    """All lines of `ablation.csv`."""
    comparisons: list[Comparison]
    """All pairs of nets at the lead training scale and protocol."""
    elsewhere: dict[tuple[str, str], list[Comparison]]
    """All pairs of nets at the other training scales and protocols."""
    judgements: list[Judgement]
    agreements: list[Order]

    @property
    def lead_rows(self) -> list[Row]:
        """The nets, without fusions, at the lead training scale and protocol."""
        lead = self.study.lead
        return [row for row in self.rows if (row.scale, row.protocol) == lead and row.params is not None]


def find(study: Study) -> Findings:
    """Compute what the report says of a study."""
    tests = [(scale, protocol) for scale in study.scales for protocol in study.protocols(scale)]
    compared = {test: compare_all(study, *test) for test in tests}
    return Findings(study, tables.ablation(study), compared.pop(study.lead), compared, judge(study), _orders(study))


def _orders(study: Study) -> list[Order]:
    """Hold the nets' order against the paper's at the same training scale and test, and torchvision's on one crop."""
    scale, protocol = study.lead
    place, paper = tables.published_beside(scale, protocol)
    if sum(net.arch in paper for net in study.at(scale)) < FEWEST:
        place, paper = tables.published_beside(SCALES[0], "dense")
    crop = "centre" if "centre" in study.protocols(scale) else protocol
    published: list[tuple[str, str, Mapping[str, Errors]]] = [
        (f"the paper's ({place})", protocol, paper),
        ("torchvision's (one centre crop)", crop, TORCHVISION),
    ]
    return [
        Order(whose, scale, ours, found)
        for whose, ours, errors in published
        if (found := agreement(study, scale, ours, {arch: error.top1 for arch, error in errors.items()}))
    ]


def title(study: Study) -> str:
    """Return the report's first line: it names the data, so that nobody takes rendered images for Caltech-256."""
    partial = "Partial report: " if study.missing else ""
    return f"{partial}VGG depth ablation on {describe(study.data)} (study `{study.name}`)"


def describe(data: Data) -> str:
    """Return what the images are."""
    number = len(data.categories)
    if data.source == "sample":
        return f"{count(number, 'rendered category', 'rendered categories')}, not Caltech-256"
    if data.source == "caltech256":
        objects = number - (CLUTTER in data.categories)
        share = f"{objects} of its {CALTECH_256_CATEGORIES}" if objects < CALTECH_256_CATEGORIES else f"{objects}"
        return f"Caltech-256 ({share} categories{' and clutter' if objects < number else ''})"
    return f"{count(number, 'category', 'categories')} of `{data.origin}`"


def partial(study: Study) -> list[str]:
    """Return a paragraph that says what is missing; none of a whole study."""
    if not study.missing:
        return []
    there = count(len(study.nets), "net and training scale", "nets and training scales")
    text = (
        f"This study is not finished: {there} in this report, still missing {', '.join(study.missing)}. What follows "
        f"is about what is there{'' if study.fusions else '; fusions of nets wait for all of them'}."
    )
    return [text]


def answer(found: Findings) -> str:
    """Return two sentences: what depth does to the error, with the best and the worst net; what the data decide."""
    return f"{_measured(found)} {_decided(found)}"


def _measured(found: Findings) -> str:
    rows = found.lead_rows
    best, worst = (pick(rows, key=lambda row: row.top1_error) for pick in (min, max))
    how = f"{PROTOCOL_WORDS[best.protocol]}, training scale S = {best.train_scale}{_untrained(rows)}"
    if len(rows) == 1:
        return f"Net {best.arch} with {best.weight_layers} weight layers has a top-1 error of {_percent(best)} ({how})."
    depths = sorted({row.weight_layers for row in rows if row.weight_layers is not None})
    spread = f"{depths[0]} to {depths[-1]}" if len(depths) > 1 else f"{depths[0]}"
    errors = (
        f"of {len(rows)} nets of {spread} weight layers {best.arch} has the lowest top-1 error, {_percent(best)}, and "
        f"{worst.arch} the highest, {_percent(worst)} ({how})."
    )
    parts = [*_with_depth(found), errors]
    return f"{parts[0][0].upper()}{parts[0][1:]}{''.join(f'; {part}' for part in parts[1:])}"


def _untrained(rows: Sequence[Row]) -> str:
    failed = sum(row.did_not_train or 0 for row in rows)
    return f"; {failed} of {sum(row.runs for row in rows)} runs did not train" if failed else ""


def _percent(row: Row) -> str:
    return f"{row.top1_error:.1f} % [{row.top1_error_low:.1f}, {row.top1_error_high:.1f}]"


def _decided(found: Findings) -> str:
    if len(found.lead_rows) == 1:
        return "With one net there is nothing to compare it with."
    compared = [one for one in found.comparisons if {one.first, one.second} <= set(ABLATION)]
    decided = [one for one in compared if one.better]
    neighbours = [one for one in compared if one.neighbours]
    if not compared:
        told = "one net of Table 1 alone has none of them to be compared with"
    elif decided:
        most = max(decided, key=lambda one: abs(one.difference.mean))
        worse = most.first if most.better == most.second else most.second
        low, high = sorted((abs(most.difference.low), abs(most.difference.high)))
        told = (
            f"{len(decided)} of {count(len(compared), 'pair')} of Table 1's nets "
            f"{'is' if len(decided) == 1 else 'are'} told apart, "
            f"{sum(map(_has_better, neighbours))} of the {len(neighbours)} neighbours in Table 3 among them, and the "
            f"largest decided difference is that of {most.better}, {abs(most.difference.mean):.1f} points "
            f"[{low:.1f}, {high:.1f}] below {worse}"
        )
    else:
        told = f"no pair of Table 1's nets is told apart, {_could(compared)}"
    tally = Counter(one.verdict for one in found.judgements)
    asked = sum(tally[verdict] for verdict in VERDICTS)
    if not asked:
        return f"{told[0].upper()}{told[1:]}; none of the paper's claims can be judged."
    verdicts = ", ".join(f"{tally[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{told[0].upper()}{told[1:]}; of the paper's {count(asked, 'claim')} judged here: {verdicts}."


def _has_better(one: Comparison) -> bool:
    return one.better is not None


def _with_depth(found: Findings) -> list[str]:
    """Return the verdict on what depth does, with the error's slope over it; nothing if it is not asked."""
    return [
        f"{_DEPTH[judged.verdict]}: {label} {one.mean:+z.2f} points [{one.low:+z.2f}, {one.high:+z.2f}]"
        for judged in found.judgements
        if judged.claim.key == "depth"
        for label, one, _ in judged.differences
    ]


def _could(comparisons: Sequence[Comparison]) -> str:
    """Return what could have been detected, over these pairs."""
    sizes = [one.difference.detectable for one in comparisons if one.difference.detectable is not None]
    if not sizes:
        return "as one run cannot tell a net from its split and its seed"
    tests = comparisons[0].difference.family
    size = f"{min(sizes):.1f} to {max(sizes):.1f}" if len(sizes) > 1 else f"{sizes[0]:.1f}"
    return (
        f"where a true difference of {size} points (half of the pairs: up to {median(sizes):.1f}) would have been "
        f"found with power {100 * POWER:.0f} %{f' after Holm for {tests} tests' if tests > 1 else ''}"
    )


def lead(study: Study) -> str:
    """Return what was run on what, in a few sentences."""
    data = study.data
    several = len(study.archs) > 1
    runs = tables.in_common(study.nets, [count(len(net.runs), "run") for net in study.nets])
    rates = [f"{net.training.learning_rate / net.tuned.learning_rate:.3g}" for net in study.nets]
    rate = "learning rate and weight decay tuned for the net"
    if set(rates) != {"1"}:
        rate = "weight decay tuned for the net and its tuned learning rate times "
        rate += tables.in_common(study.nets, rates).replace("; ", ", ")
    at_scales = ", ".join(f"{scale} (S = {tables.side(study.at(scale)[0].train_scale)})" for scale in study.scales)
    text = (
        f"{'Nets' if several else 'Net'} {', '.join(study.archs)}; {runs}{' each' if several else ''}, at the {rate}; "
        f"training scale {at_scales}; run r has split r and seed r in every net. "
        f"{count(data.images, 'image')}, in each split {data.train:,} to train on, {data.validation:,} to "
        f"validate on and {data.test:,} to test on; {data.greyscale:,} greyscale; {data.excluded:,} excluded"
        f"{tables.reasons(data)}."
    )
    if data.source == "sample":
        text += " The images are drawn by a program: they show that the pipeline works, and say nothing of photographs."
    return text


def sections(found: Findings) -> list[Section]:
    """Return the report's sections, the answer first."""
    study = found.study
    return [
        Section("answer", "The answer", (*partial(study), answer(found), lead(study))),
        result(found),
        claims(found.judgements),
        *published(found),
        pairs(found),
        agreements(found),
        fair(study),
        search(study),
        curves(study),
        of_classes(study),
        calibration(found),
        images(study),
        provenance(study),
    ]


def result(found: Findings) -> Section:
    """Return the main table: the nets at the lead training scale and protocol, beside the paper's figures."""
    study, rows = found.study, found.lead_rows
    nets = study.at(rows[0].scale)
    place, _ = tables.published_beside(rows[0].scale, rows[0].protocol)
    chance = {net.arch: f"{100 * (1 - 1 / net.classes):.1f} %" for net in nets}
    compared = (
        f"Guessing has a top-1 error of {agreed(chance)}. The paper's errors are those of ImageNet's "
        f"{IMAGENET_CLASSES} classes ({place}), with nets of full width on {IMAGENET_SIDE}-pixel crops: compare the "
        "order, not the values."
    )
    notes = ["Means over runs. " + _interval_note(nets), compared, MEASURES]
    if any(net.did_not_train for net in nets):
        notes.append("Runs that did not train stay in the means and in the intervals.")
    table = tables.result_table(rows, "result", caption_of(rows[0].protocol, nets[0]))
    return Section("result", "Error by net", (f"{table.caption}.",), (table,), tuple(notes))


MEASURES = (
    "Top-1 error: the share of test images whose most likely class is not the true one; top-5: whose five most likely "
    "classes lack it. Class recall: the share of a class's images that are found, mean over classes (appendix B). NLL: "
    "negative log-likelihood of the true class. ECE: expected calibration error, how far the confidence in the most "
    f"likely class is from the share of times that it is right, over {BINS} bins of equal width."
)


def _interval_note(nets: Sequence[Net]) -> str:
    single = [net.arch for net in nets if len(net.runs) == 1]
    several = (
        f"Brackets hold the {INTERVAL} of the expected error over splits, seeds and test images: Student's t with a "
        "variance clustered by run and by image, never narrower than Student's t over the runs alone, or than Wilson's "
        "interval from the images."
    )
    one = (
        f"With one run, brackets hold Wilson's {INTERVAL} from its test images alone: it leaves out how the error "
        "varies between splits and between seeds."
    )
    pool = "An interval is for splits of this pool of images and for the settings of this search, not for others."
    if not single:
        return f"{several} {pool}"
    return f"{one} {pool}" if len(single) == len(nets) else f"{several} {one} (So for {', '.join(single)}.) {pool}"


def caption_of(protocol: str, net: Net) -> str:
    """Return what a protocol does to a test image of a training scale, of which `net` is one."""
    single, every = net.test_scales[1], ", ".join(map(str, net.test_scales))
    whole = f"the whole image with smallest side {single} and its mirror image, averaged over positions"
    what = {
        "centre": f"Centre: one crop of {net.input_side} pixels out of the image with smallest side {single}",
        "dense": f"Dense: {whole}",
        "dense_scales": f"Dense at three scales: as dense, averaged over smallest sides {every}",
        "multi_crop": f"Multi-crop: a 5 x 5 grid of crops and their mirror images at smallest sides {every}",
        "combined": f"Dense at three scales and multi-crop, averaged, smallest sides {every}",
    }
    return f"{what[protocol]}; training scale {net.scale}, S = {tables.side(net.train_scale)}"


def claims(judgements: Sequence[Judgement]) -> Section:
    """Return what the study says of each of the paper's claims, and the rules by which."""
    body = []
    for one in judgements:
        said = (one.claim.text, one.claim.section, one.verdict)
        body += [
            (
                *said,
                label,
                tables.difference(difference),
                tables.probability(p_adjusted),
                tables.decimal(difference.detectable if one.claim.expects == "fall" else None),
            )
            for label, difference, p_adjusted in one.differences
        ] or [(*said, NONE, *[Number(NONE, None)] * 3)]
    header = ("claim", "section", "verdict", "compared", "difference, points", "p (Holm)", DETECTABLE)
    verdicts = Table("claims", "The paper's claims", header, body, frozenset({0, 1, 2, 3}))
    rules = Table(
        "claims-rules",
        "Why, and by which rule, written down before the data",
        ("claim", "why", "rule"),
        [(one.claim.text, one.why, one.claim.rule) for one in judgements],
        frozenset({0, 1, 2}),
    )
    tally = Counter(one.verdict for one in judgements)
    text = ", ".join(f"{tally[verdict]} {verdict}" for verdict in (*VERDICTS, "not asked") if tally[verdict])
    note = (
        "A difference below zero is an error that falls. p-values are Holm-corrected over all differences of all "
        "claims. Undecided is not refuted: the last column has the true difference found after that correction. A "
        "claim that an error does not fall, or stays, is judged by an interval instead, as its rule says."
    )
    return Section(
        "claims", "The paper's claims", (f"Of {len(judgements)} claims: {text}.",), (verdicts, rules), (note,)
    )


def published(found: Findings) -> list[Section]:
    """Return Tables 1 to 6 of the paper with this study's numbers beside the published ones."""
    study, rows = found.study, found.rows
    laid_out: Mapping[str, tuple[str, Table]] = {
        "table-1": ("Table 1: configurations", paper_tables.table_1(study)),
        "table-2": ("Table 2: parameters", paper_tables.table_2(study)),
        "table-3": ("Table 3: one test scale", paper_tables.table_3(rows)),
        "table-4": ("Table 4: three test scales", paper_tables.table_4(rows)),
        "table-5": ("Table 5: dense and multi-crop", paper_tables.table_5(rows)),
        "table-6": ("Table 6: fusion of nets", paper_tables.table_6(rows)),
    }
    texts = {
        "table-1": "A number is the output channels of a 3x3 convolution, with /1 of a 1x1 and with /5 of a 5x5 one; "
        "every group ends in a 2x2 max-pool. LRN: local response normalisation.",
        "table-2": "Weights and biases.",
        "table-3": "S is the smallest side of a training image, Q that of a test image, in pixels.",
        "table-4": "Posteriors are averaged over three test scales Q.",
        "table-5": "Posteriors are averaged over three test scales; the last method averages those of the first two.",
        "table-6": "The nets' posteriors are averaged, run by run. The submission's seven nets are the paper's alone.",
    }
    lines = paper_tables.missing_cells(study)
    return [
        Section(name, heading, (texts[name],), (table,), (lines[name],) if name in lines else ())
        for name, (heading, table) in laid_out.items()
    ]


def pairs(found: Findings) -> Section:
    """Return what the data allow to say about every pair of nets."""
    scale, protocol = found.study.lead
    heading = "Which net has the lower error"
    if not found.comparisons:
        text = "It takes two nets to compare them."
        return Section("pairs", heading, (text,))
    body = [
        (
            f"{one.first} → {one.second}",
            "yes" if one.neighbours else "no",
            tables.difference(one.difference),
            tables.probability(one.p_adjusted),
            tables.decimal(one.difference.effect_size, 2, signed=True),
            Number(
                f"{one.difference.superiority:.2f} [{one.difference.superiority_low:.2f}, "
                f"{one.difference.superiority_high:.2f}]",
                one.difference.superiority,
                one.difference.superiority_low,
                one.difference.superiority_high,
            ),
            tables.decimal(one.difference.detectable),
            tables.decimal(one.published, signed=True),
            one.verdict,
        )
        for one in found.comparisons
    ]
    header = ("pair", "neighbours", "difference, points", "p (Holm)", "effect size g", "P(second better)")
    header = (*header, DETECTABLE, "paper, points", "this study")
    table = Table("pairs", "All pairs of nets", header, body, frozenset({0, 1, 8}))
    note = (
        "A difference is the second net's top-1 error less the first's, paired by run and by test image; its "
        f"{INTERVAL} is for that pair alone, its p-value is Holm-corrected for all pairs, decided at level "
        f"{100 * LEVEL:.0f} %. The effect size is Hedges' g of the runs' differences. P(second better) is the chance "
        "that a run of the second net has a lower error than the first's with the same split and seed. An undecided "
        f"pair is not an equal pair: the detectable difference is what would have been found with power "
        f"{100 * POWER:.0f} % at Holm's first step, for {count(found.comparisons[0].difference.family, 'test')}."
    )
    others = [
        (
            scale,
            PROTOCOL_WORDS[protocol],
            f"{one.first} → {one.second}",
            tables.difference(one.difference),
            tables.probability(one.p_adjusted),
            tables.decimal(one.published, signed=True),
            one.verdict,
        )
        for (scale, protocol), comparisons in found.elsewhere.items()
        for one in comparisons
    ]
    header = ("training scale", "test", "pair", "difference, points", "p (Holm)", "paper, points", "this study")
    elsewhere = Table("pairs-elsewhere", "At other training scales and tests", header, others, frozenset({0, 1, 2, 6}))
    sentences = tuple(one.sentence for one in found.comparisons if one.neighbours)
    shown = (table, elsewhere) if others else (table,)
    text = f"Neighbours in Table 3, {PROTOCOL_WORDS[protocol]}, training scale {scale}:"
    return Section("pairs", heading, (text, *sentences) if sentences else (), shown, (note,))


def agreements(found: Findings) -> Section:
    """Return how far the order of the nets agrees with published ones."""
    means = {row.arch: row.top1_error for row in found.lead_rows}
    ranked = ", ".join(f"{arch} {means[arch]:.1f}" for arch in sorted(means, key=lambda arch: means[arch]))
    text = (f"Mean errors, lowest first: {ranked}. These are point estimates and settle nothing by themselves.",)
    heading = "Agreement with published orders"
    if not found.agreements:
        shared = sum(arch in SINGLE_SCALE for arch in means)
        none = f"An order takes {FEWEST} nets that were published too" if shared < FEWEST else "Their errors are tied"
        return Section("agreement", heading, (*text, f"{none}: there is no order to compare."))
    body = [
        (
            order.whose,
            f"{PROTOCOL_WORDS[order.protocol]}, training scale {order.scale}",
            ", ".join(one.nets),
            Number(f"{one.tau:.2f} [{one.low:.2f}, {one.high:.2f}]", one.tau, one.low, one.high),
            tables.whole(one.runs),
        )
        for order in found.agreements
        for one in (order.agreement,)
    ]
    header = ("order", "this study's", "nets", "tau-b", "runs")
    table = Table("agreement", "Kendall's tau-b", header, body, frozenset({0, 1, 2}))
    note = (
        f"Kendall's tau-b is 1 for the same order, 0 for unrelated ones, -1 for the opposite. Its {INTERVAL} is a "
        "bootstrap over runs and test images."
    )
    return Section("agreement", heading, text, (table,), (note,))


def fair(study: Study) -> Section:
    """Return what could make the comparison unfair: budgets, failures, gaps, near-duplicates."""
    found = fairness.leaks(study)
    text = (
        fairness.budget_words(study.nets),
        fairness.untrained_words(study),
        fairness.edge_words(study),
        fairness.reused_words(study),
        fairness.leak_words(study, found),
    )
    untrained = fairness.untrained_table(study.nets)
    shown = [fairness.budget_table(study.nets), *([untrained] if untrained else []), fairness.gap_table(study)]
    if found:
        shown += fairness.leak_tables(study, found)
    note = (
        "The gap is the test error less the training error, both on centre crops: what a net learnt of its training "
        "images alone. Nets that were not tested on centre crops have none."
    )
    return Section("fairness", "Was it fair?", text, tuple(shown), (note,))


def search(study: Study) -> Section:
    """Return what the search chose, and where it may have been cut short by the space's edge."""
    nets = fairness.searched(study)
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
        learning_rate, weight_decay = LEARNING_RATE, WEIGHT_DECAY
        point = f"learning rate {learning_rate:g} and weight decay {weight_decay:g}"
        text += f" The paper's {point} are among every net's trials."
    notes = []
    if any(net.tuned.diverged or net.tuned.at_chance for net in nets):
        notes.append("Trials that diverged or ended at chance are counted among the complete and pruned ones too.")
    return Section("search", "The search", (text,), (tables.tuning_table(nets),), tuple(notes))


def _paper_was_tried(study: Study) -> bool:
    learning_rate, weight_decay = LEARNING_RATE, WEIGHT_DECAY
    trials = study.trials
    tried = trials[(trials["learning_rate"] == learning_rate) & (trials["weight_decay"] == weight_decay)]
    return set(study.archs) <= set(tried["arch"])


def curves(study: Study) -> Section:
    """Return how the nets were trained."""
    fine_tuned = [net for net in study.nets if net.scale != SCALES[0]]
    text = (
        f"At the training scale {SCALES[0]} every run starts at the learning rate and weight decay tuned for its net."
    )
    if fine_tuned:
        factors = [f"{net.training.learning_rate / net.tuned.learning_rate:.3g}" for net in fine_tuned]
        text += (
            f" Training at another scale goes on from the weights of the one before it ({', '.join(SCALES)}), with "
            f"{tables.in_common(fine_tuned, factors)} of the tuned learning rate."
        )
    return Section("curves", "Training", (text,), (tables.training_table(study.nets),))


def of_classes(study: Study) -> Section:
    """Return errors by class, and the confusions that depth mends."""
    confusions = classes.confusions_table(study, *study.lead)
    shown = (classes.classes_table(study, *study.lead), *([confusions] if confusions else []))
    scale, protocol = study.lead
    text = (
        f"{PROTOCOL_WORDS[protocol].capitalize()}, training scale {scale}. {classes.classes_words(study, *study.lead)}"
    )
    return Section("classes", "Errors by class", (text,), shown)


def calibration(found: Findings) -> Section:
    """Return how far the nets' confidence can be trusted."""
    rows = found.lead_rows
    low, high = (pick(rows, key=lambda row: row.ece) for pick in (min, max))
    values = f"{low.ece:.1f} %" if len(rows) == 1 else f"{low.ece:.1f} % ({low.arch}) to {high.ece:.1f} % ({high.arch})"
    text = (
        f"Expected calibration error: {values}, {PROTOCOL_WORDS[low.protocol]}, training scale {low.scale}. A "
        "calibrated net is right in as many percent of cases as its confidence says."
    )
    body = [
        (row.arch, row.scale, PROTOCOL_WORDS[row.protocol], tables.decimal(row.ece), tables.decimal(row.nll, 3))
        for row in found.rows
    ]
    header = ("net", "training scale", "test", "ECE, %", "NLL, nats")
    return Section(
        "calibration",
        "Calibration",
        (text,),
        (Table("calibration", "Calibration by net and test", header, body, frozenset({0, 1, 2})),),
    )


def images(study: Study) -> Section:
    """Return what the images are and how they were split."""
    data = study.data
    text = (
        f"The images are {describe(data)}. Every net sees the same splits; within a run, test images serve for testing "
        "alone. What was left out stands by name and reason in `data/processed/excluded.csv`."
    )
    return Section("data", "Data", (text,), (tables.data_table(data),))


def provenance(study: Study) -> Section:
    """Return the command that makes such a report, and what its weights are."""
    arch = study.archs[0] if len(study.archs) == 1 else "all"
    scale = "all" if len(study.scales) > 1 else study.scales[0]
    command = f"dvc exp run -S study={study.name} -S arch={arch} -S scale={scale}"
    shallow = f", `dvc exp run -S study={study.name} -S arch={SHALLOW} -S scale={scale}`"
    joined = len(study.archs) > 1 and SHALLOW in study.archs
    partial = f"{shallow if joined else ''} and then `python stages/report.py --partial`"
    partial = partial if study.partial else ""
    text = (
        f"Made by `{command}`{partial}, with the settings below. The versions of all libraries stand in "
        "`requirements.lock`. Run r of a net has split r and seed r; its weights are in `results/NET/SCALE/weights`."
    )
    laid_out = (tables.settings_table(study.settings, study.data.origin), tables.weights_table(study.nets))
    return Section("provenance", "Provenance", (text,), laid_out)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `5 runs`, `12,000 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
