"""The tables of the report, except the paper's own and the cost."""

from collections.abc import Iterable, Sequence

import pandas as pd

from vgg_ablation.analysis import classes, fairness
from vgg_ablation.analysis.findings import Findings
from vgg_ablation.analysis.rows import published_beside, side
from vgg_ablation.analysis.statistics import Difference
from vgg_ablation.analysis.study import Net, Study
from vgg_ablation.paper.tables import TRAINING_SCALES
from vgg_ablation.report import paper_tables, words
from vgg_ablation.report.table import Number, Table, decimal, detectable, grouped, interval, probability, whole
from vgg_ablation.runtime.names import norm_of, plain

DETECTABLE = "detectable, points"


def all_tables(findings: Findings) -> dict[str, Table]:
    """Return the tables by name. One without rows, such as the runs that did not train, is left out."""
    study = findings.study
    tables = (
        _result(findings),
        _claims(findings),
        *paper_tables.all_tables(study, findings.rows),
        _pairs(findings),
        _pairs_elsewhere(findings),
        _agreement(findings),
        *_fairness(study),
        _search(study),
        _training(study.nets),
        _classes(study),
        _confusions(study),
        _images(study),
        _settings(study),
        _weights(study.nets),
    )
    return {table.name: table for table in tables if table.rows}


def _result(findings: Findings) -> Table:
    """One row for each net at the lead scale and protocol, beside the paper's errors."""
    rows = findings.lead_rows
    published = published_beside(*findings.study.lead).errors
    body = [
        (
            row.arch,
            whole(row.weight_layers),
            Number(f"{row.params / 1e6:.2f} M", row.params) if row.params else whole(None),
            interval(row.top1_error, row.top1_error_low, row.top1_error_high),
            decimal(row.training_error),
            ", ".join(f"{error:.1f}" for error in row.each_run),
            decimal(row.top5_error),
            decimal(row.mean_class_recall),
            decimal(row.ece),
            Number(f"{row.runs}" + (f" ({row.did_not_train} did not train)" if row.did_not_train else ""), row.runs),
            decimal(theirs and theirs.top1),
            decimal(theirs and theirs.top5),
        )
        for row in rows
        for theirs in [published.get(plain(row.arch))]
    ]
    header = ("net", "layers", "parameters", "top-1 error, %", "training error, %", "each run, %", "top-5 error, %")
    header = (*header, "class recall, %", "ECE, %", "runs", "paper top-1, %", "paper top-5, %")
    return Table("result", "Error by net", header, body)


def _difference(difference: Difference, digits: int = 1) -> Number:
    return interval(difference.mean, difference.low, difference.high, "+", digits)


def _claims(findings: Findings) -> Table:
    """One row for each claim, with the larger of its differences."""
    body = []
    for one in findings.judgements:
        part = one.weakest
        slope = one.claim.key == "depth"
        digits = 2 if slope else 1
        body.append(
            (
                words.claim(one, findings.study) + ("; points per layer" if slope else ""),
                one.claim.section,
                words.verdict(one, findings.sensitivities.get(one.name)),
                _difference(part.difference, digits) if part else decimal(None),
                probability(part.p_adjusted if part else None),
                detectable(part.detectable if part else None, digits),
            )
        )
    header = ("claim", "section", "verdict", "difference, points", "p (Holm)", DETECTABLE)
    return Table("claims", "The paper's claims", header, body)


def _pairs(findings: Findings) -> Table:
    body = [
        (
            f"{one.first} → {one.second}",
            "yes" if one.neighbours else "no",
            _difference(one.difference),
            probability(one.p_adjusted),
            detectable(one.difference.detectable),
            decimal(one.published, sign="+"),
            f"{one.better} lower" if one.better else "undecided",
        )
        for one in findings.comparisons
    ]
    header = ("pair", "neighbours", "difference, points", "p (Holm)", DETECTABLE, "paper, points", "this study")
    return Table("pairs", "All pairs of nets", header, body)


def _pairs_elsewhere(findings: Findings) -> Table:
    body = [
        (
            scale,
            words.PROTOCOLS[protocol],
            f"{one.first} → {one.second}",
            _difference(one.difference),
            probability(one.p_adjusted),
            decimal(one.published, sign="+"),
            f"{one.better} lower" if one.better else "undecided",
        )
        for (scale, protocol), comparisons in findings.elsewhere.items()
        for one in comparisons
    ]
    header = ("training scale", "test", "pair", "difference, points", "p (Holm)", "paper, points", "this study")
    return Table("pairs-elsewhere", "All pairs at other training scales and tests", header, body)


def _agreement(findings: Findings) -> Table:
    body = []
    for source, protocol, one in findings.agreements:
        paper = f"the paper's ({place_in_paper(source.scale, source.protocol)})" if source else ""
        whose = paper or "torchvision's (one centre crop)"
        ours = f"{words.PROTOCOLS[protocol]}, training scale {findings.study.lead[0]}"
        tau = interval(one.tau, one.low, one.high, digits=2)
        body.append((whose, ours, ", ".join(one.nets), tau, whole(one.runs)))
    return Table("agreement", "Agreement of orders", ("order", "this study's", "nets", "tau-b", "runs"), body)


def place_in_paper(scale: str, protocol: str) -> str:
    """Return where the paper has the errors: `Table 3, dense, S = 256`."""
    return f"{words.PAPER_TABLES[protocol]}, {words.PROTOCOLS[protocol]}, S = {TRAINING_SCALES[scale]}"


def _fairness(study: Study) -> Iterable[Table]:
    yield Table(
        "budgets",
        "Budgets",
        ("net", "training scale", *words.BUDGETS.values()),
        [
            (arch, scale, *map(whole, numbers))
            for arch, scale, *numbers in fairness.budgets(study.nets)[["arch", "scale", *words.BUDGETS]].to_numpy()
        ],
    )
    yield Table(
        "untrained",
        "Runs that did not train",
        ("net", "training scale", "run", "reason"),
        [(arch, scale, whole(run), reason) for arch, scale, run, reason in fairness.untrained_runs(study.nets)],
    )
    leaks = fairness.leaks(study)
    yield Table(
        "near-duplicates",
        "Test images with a near-duplicate among the training images",
        ("run", "test images", "with a near-duplicate", "share, %"),
        [(whole(leak.run), whole(leak.test_images), whole(len(leak.images)), decimal(leak.share)) for leak in leaks],
    )
    yield Table(
        "near-duplicates-effect",
        f"Top-1 error with and without them, {words.PROTOCOLS[study.lead[1]]}",
        ("net", "all test images, %", "without near-duplicates, %", "difference, points"),
        [
            (arch, decimal(every), decimal(others), decimal(change, 2, "+"))
            for arch, every, others, change in (fairness.effects(study, *study.lead, leaks) if leaks else [])
        ],
    )


def _search(study: Study) -> Table:
    """One row for each net; with a batch size only where the search chose from several."""
    body = []
    sizes_differ = any(len(net.tuned.batch_sizes) > 1 for net in study.searched)
    for net in study.searched:
        tuned = net.tuned
        chosen = [
            Number(f"{getattr(tuned, name):.3g}" + (" (edge)" if name in tuned.at_edge else ""), getattr(tuned, name))
            for name in words.SETTINGS
        ]
        numbers = map(whole, (tuned.trials, tuned.complete, tuned.pruned, tuned.diverged, tuned.at_chance))
        chosen += [whole(tuned.batch_size)] * sizes_differ
        body.append((net.arch, *chosen, decimal(tuned.validation_accuracy), *numbers))
    header = (
        "net",
        *words.SETTINGS.values(),
        *["batch size"] * sizes_differ,
        "validation accuracy, %",
        "trials",
        "complete",
        "pruned",
    )
    return Table("search", "Tuned settings", (*header, "diverged", "at chance"), body)


def _training(nets: Sequence[Net]) -> Table:
    """One row for each setting: one value if the nets share it, else one for each net."""
    labels = {
        "schedule": "learning rate schedule",
        "warm_up": "warm-up, share of the steps",
        "epochs": "epochs at this scale",
        "batch_size": "batch size",
        "train_images": "training images a run",
        "refit": "validation images among them",
        "init": "initialisation",
        "dropout": "dropout",
        "width": "width, share of Table 1's channels",
        "device": "device",
        "precision": "precision of products",
        "torch": "PyTorch",
    }
    values = {
        "side of the crop that a net sees, pixels": [net.input_side for net in nets],
        "training scale S, smallest side, pixels": [side(net.train_scale) for net in nets],
        "test scales Q, smallest side, pixels": [net.test_scales for net in nets],
        "batch normalisation": [norm_of(net.arch) == "batch" for net in nets],
        **{label: [getattr(net.training, field) for net in nets] for field, label in labels.items()},
    }
    body = [(label, in_common(nets, list(map(_setting, of_nets)))) for label, of_nets in values.items()]
    return Table("training", "Training settings", ("setting", "value"), body)


def in_common(nets: Sequence[Net], values: Sequence[str]) -> str:
    """Return the value that all nets share, else each with its nets; a training scale whose nets agree by its name."""
    of_archs: dict[str, set[str]] = {}
    for net, value in zip(nets, values, strict=True):
        of_archs.setdefault(net.arch, set()).add(value)
    if all(len(different) == 1 for different in of_archs.values()):
        return grouped({arch: value for arch, (value,) in of_archs.items()})
    of_scales: dict[str, dict[str, str]] = {}
    for net, value in zip(nets, values, strict=True):
        of_scales.setdefault(net.scale, {})[net.arch] = value
    named: dict[str, str] = {}
    for scale, of_nets in of_scales.items():
        if len(of_scales) > 1 and len(set(of_nets.values())) == 1:
            named[scale] = next(iter(of_nets.values()))
        else:
            suffix = f" {scale}" if len(of_scales) > 1 else ""
            named |= {f"{arch}{suffix}": value for arch, value in of_nets.items()}
    return grouped(named)


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _classes(study: Study) -> Table:
    """One row for each category, the one first whose error falls most with depth: that of the first normalisation."""
    errors = classes.class_errors(study, *study.lead)
    signs = {f"{arch}, %": "" for arch in errors.columns}
    changes = pd.DataFrame(index=errors.index)
    for part in study.by_norm:
        if between := classes.ends(part, study.lead[0]):
            shallow, deep = (net.arch for net in between)
            changes[f"{shallow} to {deep}, points"] = errors[deep] - errors[shallow]
    signs |= dict.fromkeys(changes.columns, "+")
    table = pd.concat([errors, changes], axis=1)
    if len(changes.columns):
        table = table.sort_values(changes.columns[0], kind="stable")
    body = [
        (
            str(category),
            *(
                decimal(None if value != value else float(value), sign=sign)
                for value, sign in zip(row, signs.values(), strict=True)
            ),
        )
        for category, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return Table("classes", "Top-1 error by class", ["category", *signs], body)


def _confusions(study: Study) -> Table:
    body = [
        (
            " to ".join(net.arch for net in between),
            one.category,
            one.taken_for,
            decimal(one.before),
            decimal(one.after),
            decimal(one.change, sign="+"),
        )
        for part in study.by_norm
        if (between := classes.ends(part, study.lead[0]))
        for one in classes.fallen_confusions(part, *study.lead)
    ]
    caption = "Confusions that become rarer from the shallowest to the deepest net, share of the category's test images"
    header = ("nets", "category", "taken for", "shallowest, %", "deepest, %", "change, points")
    return Table("confusions", caption, header, body)


def _images(study: Study) -> Table:
    data = study.data
    drawn = f"{data.train_per_class}, a part of them for validation"
    if data.train_per_class == "folders":
        drawn = "none: the folders train, val and test are the split"
    body = [
        ("source", data.origin),
        ("SHA-256 of the archive", data.archive_sha256),
        ("categories", f"{len(data.categories)}, clutter {'included' if data.clutter else 'left out'}"),
        ("images", f"{data.images:,}"),
        ("of them greyscale", f"{data.greyscale:,}"),
        ("excluded", words.excluded(data)),
        ("colour profiles ignored", f"{data.profiles_ignored:,}"),
        ("stored with smallest side", f"{data.side} pixels"),
        ("drawn for training, a category", drawn),
        ("in each split", f"{data.train:,} training, {data.validation:,} validation, {data.test:,} test images"),
        ("splits", f"{data.splits}"),
    ]
    return Table("images", "Images", ("property", "value"), body)


def _settings(study: Study) -> Table:
    """Every setting by the name that `-S` takes; the source as others may read it."""
    (settings,) = pd.json_normalize(study.settings.model_dump()).to_dict("records")
    body = [(str(name), _setting(value)) for name, value in {**settings, "data.source": study.data.origin}.items()]
    return Table("settings", "Settings", ("setting", "value"), body)


def _weights(nets: Sequence[Net]) -> Table:
    body = [
        (net.arch, net.scale, whole(run.run), whole(run.seed), run.weights_sha256) for net in nets for run in net.runs
    ]
    return Table("weights", "Weights", ("net", "training scale", "run", "seed", "SHA-256 of the weights"), body)
