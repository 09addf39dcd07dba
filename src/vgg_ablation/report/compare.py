"""Two experiments side by side in one page: the settings that differ, and every net's error in both."""

import io
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vgg_ablation.dataset.download import without_credentials
from vgg_ablation.errors import StageError
from vgg_ablation.report.drawing import INK, OURS, STYLE, THIRD, Drawing, drawing
from vgg_ablation.report.page import environment
from vgg_ablation.report.tables import NONE, PROTOCOL_WORDS, Table, flattened, interval
from vgg_ablation.runtime.params import read_params

WORKSPACE = "workspace"
"""The name of the files as they lie on disk, as DVC has it."""
REPORT = "reports/ablation.csv"
SETTINGS = "params.yaml"
KEY = ["arch", "scale", "protocol"]
ERROR = ["top1_error", "top1_error_low", "top1_error_high"]


@dataclass(frozen=True)
class Experiment:
    """What a report says, and the settings that it was made with."""

    name: str
    settings: dict[str, str]
    """By dotted name, those of its study without the study's name before them."""
    errors: pd.DataFrame
    """Columns `KEY`, `ERROR` (percent, with bounds of the 95 % interval) and `runs`."""


class Span(NamedTuple):
    """An error, or a difference of two, with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """One net's top-1 error in both experiments."""

    arch: str
    scale: str
    protocol: str
    first: Span
    second: Span
    difference: Span
    """The second's less the first's, percentage points."""

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference.low > 0 or self.difference.high < 0


def read_experiment(repository: Path, name: str) -> Experiment:
    """Read an experiment: `workspace`, a revision of git, or an experiment of DVC by its name.

    Raises:
        OSError: a file of the workspace is not there, or git is not.
        StageError: there is no such revision or experiment, or it holds no report or settings as they are now.
    """
    commit = "" if name == WORKSPACE else _resolve(repository, name)
    report = _content(repository, name, commit, REPORT)
    settings = _content(repository, name, commit, SETTINGS)
    return Experiment(name, _settings(name, settings), _errors(name, report))


def _resolve(repository: Path, name: str) -> str:
    """Return the commit that a name stands for; git's own names come before those of experiments."""
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is not None:
        return commit.strip()
    listed = _git(repository, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
    # refs/exps/, two parts of the commit that it started from, its name
    refs = [line.split(" ", 1) for line in listed.splitlines()]
    found = [commit for commit, ref in refs if ref.count("/") == 4 and ref.rpartition("/")[2] == name]
    if not found:
        raise StageError(f"{name}: no such revision or experiment; dvc exp list --all-commits names the experiments")
    if len(found) > 1:
        raise StageError(f"{name}: {len(found)} experiments have this name; give one of {', '.join(found)}")
    return found[0]


def _content(repository: Path, name: str, commit: str, path: str) -> str:
    if not commit:
        return (repository / path).read_text(encoding="utf-8", errors="replace")
    content = _git(repository, "show", f"{commit}:./{path}")
    if content is None:
        raise StageError(f"{name}: it holds no {path}; compare experiments whose report was written")
    return content


def _git(repository: Path, *arguments: str) -> str | None:
    """Return what git prints; None where it refuses."""
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def _settings(name: str, text: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SETTINGS
        file.write_text(text, encoding="utf-8")
        try:
            params = read_params(file)
        except StageError as error:
            raise StageError(f"{name}: {str(error).replace(str(file), SETTINGS)}") from None
    flat = flattened({"arch": params.arch, "scale": params.scale, "study": params.study, **params.block})
    return {name: without_credentials(str(value)) for name, value in flat.items()}


def _errors(name: str, text: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=dict.fromkeys(KEY, str))
        table = table[[*KEY, *ERROR, "runs"]].astype(dict.fromkeys([*ERROR, "runs"], float))
    except (ValueError, KeyError) as error:  # what pandas cannot parse is a ValueError too
        raise StageError(
            f"{name}: {REPORT} is no report as it is written now: {' '.join(str(error).split())}"
        ) from None
    if table.empty or table.duplicated(KEY).any() or not table[ERROR].map(math.isfinite).all(axis=None):
        raise StageError(f"{name}: {REPORT} is no report as it is written now: no net, one twice, or no error")
    return table


def changes(first: Experiment, second: Experiment) -> list[Change]:
    """Return every net, training scale and protocol that both have, in the order of the first.

    The interval of a difference is made from the two errors' own (G. Y. Zou and A. Donner, Statistics in Medicine 27
    (2008) 1693-1702), which takes the two for independent: where they share images or seeds it is rather too wide.
    """
    both = first.errors.merge(second.errors, on=KEY, suffixes=("", "_second"))
    found = []
    for row in both.to_dict("records"):
        one = Span(*(row[column] for column in ERROR))
        other = Span(*(row[f"{column}_second"] for column in ERROR))
        difference = other.mean - one.mean
        below = math.hypot(other.mean - other.low, one.high - one.mean)
        above = math.hypot(other.high - other.mean, one.mean - one.low)
        span = Span(difference, difference - below, difference + above)
        found.append(Change(row["arch"], row["scale"], row["protocol"], one, other, span))
    return found


def document(first: Experiment, second: Experiment) -> str:
    """Return the page on two experiments."""
    found = changes(first, second)
    with mpl.rc_context(STYLE):
        drawn = draw(found, first.name, second.name) if found else None
    return (
        environment()
        .get_template("compare.html.jinja")
        .render(
            title=f"Comparison of `{first.name}` and `{second.name}`",
            summary=summary(found, first, second),
            settings=settings_table(first, second),
            drawing=drawn,
            errors=errors_table(found, first.name, second.name) if found else None,
            alone=alone_table(first, second),
            command=f"python -m vgg_ablation.report compare {first.name} {second.name}",
        )
    )


def summary(found: Sequence[Change], first: Experiment, second: Experiment) -> str:
    """Return in a sentence what differs."""
    settings = len(settings_table(first, second).rows)
    differing = f"{settings} setting{'' if settings == 1 else 's'} differ{'s' if settings == 1 else ''}"
    if not found:
        return f"{differing}; no net is in both under the same training scale and protocol."
    told = [change for change in found if change.differs]
    if not told:
        return f"{differing}; of {len(found)} errors in both, none differs by more than its interval allows."
    most = max(told, key=lambda change: abs(change.difference.mean))
    return (
        f"{differing}; of {len(found)} errors in both, {len(told)} differ by more than their interval allows, most "
        f"{most.arch} ({most.scale}, {PROTOCOL_WORDS.get(most.protocol, most.protocol)}): "
        f"{interval(*most.difference, signed=True)} points."
    )


def settings_table(first: Experiment, second: Experiment) -> Table:
    """Lay out the settings that differ."""
    names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
    values = {name: (first.settings.get(name, NONE), second.settings.get(name, NONE)) for name in names}
    body = [(name, *pair) for name, pair in values.items() if pair[0] != pair[1]]
    header = ("setting", first.name, second.name)
    return Table("settings", "Settings that differ", header, body, frozenset({0, 1, 2}))


def errors_table(found: Sequence[Change], first: str, second: str) -> Table:
    """Lay out the errors side by side."""
    body = [
        (
            change.arch,
            change.scale,
            PROTOCOL_WORDS.get(change.protocol, change.protocol),
            interval(*change.first),
            interval(*change.second),
            interval(*change.difference, signed=True),
            "yes" if change.differs else "no",
        )
        for change in found
    ]
    header = ("net", "training scale", "test", f"{first}, %", f"{second}, %", "difference, points", "leaves out 0")
    return Table("errors", "Top-1 error", header, body, frozenset({0, 1, 2, 6}))


def alone_table(first: Experiment, second: Experiment) -> Table | None:
    """Lay out what only one of the two has; None if they have the same."""
    body = []
    for one, other in ((first, second), (second, first)):
        known = set(other.errors[KEY].itertuples(index=False, name=None))
        for row in one.errors.to_dict("records"):
            key = tuple(row[column] for column in KEY)
            if key not in known:
                error = interval(*(row[column] for column in ERROR))
                body.append((key[0], key[1], PROTOCOL_WORDS.get(key[2], key[2]), one.name, error))
    header = ("net", "training scale", "test", "only in", "top-1 error, %")
    return Table("alone", "Only in one", header, body, frozenset({0, 1, 2, 3})) if body else None


def draw(found: Sequence[Change], first: str, second: str) -> Drawing:
    """Draw both errors of every net at the first training scale that the two share, under `dense` if they have it."""
    lead = next((change for change in found if change.protocol == "dense"), found[0])
    scale, protocol = lead.scale, lead.protocol
    shown = [change for change in found if (change.scale, change.protocol) == (scale, protocol)]
    figure = Figure((5.2, 1.3 + 0.36 * len(shown)), layout="constrained")
    axes = figure.subplots()
    marks = ((first, OURS, "o", -0.12), (second, THIRD, "D", 0.12))
    for place, change in enumerate(shown):
        for (_, colour, marker, shift), error in zip(marks, (change.first, change.second), strict=True):
            axes.plot([error.low, error.high], [place + shift] * 2, color=colour, linewidth=1.6)
            axes.plot(error.mean, place + shift, marker=marker, color=colour, markersize=5.5)
    axes.set_yticks(range(len(shown)), [change.arch for change in shown])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("top-1 error, %")
    handles = [Line2D([], [], color=colour, marker=marker, markersize=5.5) for _, colour, marker, _ in marks]
    figure.legend(handles, [first, second], loc="outside lower center", ncols=2)
    words = "; ".join(f"{change.arch} {interval(*change.first)} and {interval(*change.second)}" for change in shown)
    title = f"Top-1 error, training scale {scale}, {PROTOCOL_WORDS.get(protocol, protocol)}"
    return drawing(
        figure,
        "compare",
        title,
        f"Top-1 error in percent with its 95 % interval, {first} and {second}, by net: {words}.",
        pd.DataFrame([{"net": change.arch, first: change.first.mean, second: change.second.mean} for change in shown]),
    )
