"""Look at images before a study of them: `python -m vgg_ablation.dataset PATH`.

Prints categories, counts, sizes, formats and what would be left out, and a block of settings for `params.yaml`.
"""

import argparse
import io
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ruamel.yaml import YAML

from vgg_ablation.dataset.archive import CLUTTER, OFFICIAL_CATEGORIES
from vgg_ablation.dataset.decode import Decoded
from vgg_ablation.dataset.layout import Member, Stray
from vgg_ablation.dataset.pack import choose, decode_all, kind_of
from vgg_ablation.dataset.sample import CATEGORIES
from vgg_ablation.dataset.source import obtain
from vgg_ablation.dataset.splits import FOLDERS, least_images
from vgg_ablation.errors import StageError
from vgg_ablation.images.index import TRAIN
from vgg_ablation.runtime.console import Console, stage
from vgg_ablation.runtime.params import one_of, read_studies
from vgg_ablation.runtime.settings import DataSettings, StudySettings
from vgg_ablation.runtime.state import repository_root

_SIDE = 32  # pixels: decoding to the smallest side that a study may have takes least
_PAPER_SHARE = 0.75  # of the smallest category: 60 of 80 images in appendix B
_PAPER_IMAGES = 60
_LEAST = 3  # images of a category: one each to train, validate and test
_FIRST = 3  # examples of each reason


@dataclass(frozen=True)
class Found:
    """The contents of a source, decoded."""

    images: Mapping[Member, Decoded]
    """Usable images, each once."""
    excluded: Sequence[tuple[str, str]]
    """Path and reason of each file that is left out."""

    @property
    def categories(self) -> Counter[str]:
        """Usable images by category."""
        return Counter(member.category for member in self.images)

    def parts(self, category: str | None = None) -> Counter[str]:
        """Usable images by part of a ready-made split, of one category or of all; empty without one."""
        return Counter(member.part for member in self.images if member.part and category in (None, member.category))

    def too_small(self) -> list[str]:
        """Return the categories that have too few images for a study."""
        if split := self.parts():
            needed = least_images(split)
            return [
                category
                for category in sorted(self.categories)
                if any(self.parts(category)[part] < least for part, least in needed.items())
            ]
        return sorted(category for category, number in self.categories.items() if number < _LEAST)


def inspect(archive: Path, members: Sequence[Member], strays: Iterable[Stray], console: Console) -> Found:
    """Decode all images of an archive as `preprocess` does."""
    images: dict[Member, Decoded] = {}
    first_with: dict[str, str] = {}
    excluded = [(stray.path, stray.reason) for stray in strays]
    with console.task("reading", len(members), quiet=10.0) as task:
        for member, sha256, result in decode_all(archive, members, _SIDE):
            task.advance()
            if sha256 in first_with:
                excluded.append((member.path, f"duplicate of {first_with[sha256]}"))
            elif isinstance(result, Decoded):
                first_with[sha256] = member.path
                images[member] = result
            else:
                excluded.append((member.path, str(result)))
    return Found(images, sorted(excluded))


def describe(found: Found) -> list[str]:
    """Return the lines about categories, sizes, formats and exclusions."""
    lines = ["categories:"]
    for category, number in sorted(found.categories.items()):
        parts = ", ".join(f"{part} {each:,}" for part, each in found.parts(category).items())
        lines.append(f"  {category}: {number:,}" + (f" ({parts})" if parts else ""))
    sides = [min(result.size) for result in found.images.values()]
    if sides:
        lines.append(f"smallest side, pixels: {min(sides):,} to {max(sides):,}, median {median(sides):,.0f}")
    kinds = Counter(result.format for result in found.images.values())
    lines.append(f"formats: {', '.join(f'{name} {number:,}' for name, number in kinds.most_common()) or 'none'}")
    profiles = Counter(result.profile for result in found.images.values())
    lines.append(f"colour profiles: {profiles['converted']:,} converted to sRGB, {profiles['ignored']:,} ignored")
    by_reason: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, reason in found.excluded:
        by_reason[kind_of(reason)].append((path, reason))
    lines.append(f"left out: {len(found.excluded):,}")
    for kind, cases in sorted(by_reason.items()):
        lines.append(f"  {kind}: {len(cases):,}")
        lines += [f"    {path}: {reason}" for path, reason in cases[:_FIRST]]
        if len(cases) > _FIRST:
            lines.append("    ...")
    return lines


def settings(found: Found, source: str, like: StudySettings) -> dict[str, object]:
    """Return the settings of a study of these images: those of another study, with as many training steps per run.

    Categories with too few images are left out.

    Raises:
        StageError: the settings of the other study do not say how many images it trains on.
    """
    split, small = found.parts(), found.too_small()
    counts = {category: number for category, number in sorted(found.categories.items()) if category not in small}
    drawn = min(_PAPER_IMAGES, max(2, int(_PAPER_SHARE * min(counts.values()))))
    training = sum(found.parts(category)[TRAIN] for category in counts) if split else drawn * len(counts)
    block = like.model_dump(mode="json")
    longer = _drawn(like.data) / training
    block["data"] |= {
        "source": source, "categories": list(counts) if small else "all", "clutter": CLUTTER in counts,
        "train_per_class": FOLDERS if split else drawn,
    }  # fmt: skip
    for section in ("train", "fine_tune", "tune"):
        block[section]["epochs"] = max(1, round(block[section]["epochs"] * longer))
    block["tune"]["prune_after"] = max(1, round(block["tune"]["prune_after"] * longer))
    return block


def _drawn(data: DataSettings) -> int:
    """Return the training and validation images of a split, from settings alone."""
    of_source = {"sample": len(CATEGORIES), "caltech256": OFFICIAL_CATEGORIES + data.clutter}
    classes = of_source.get(data.source, 0) if data.categories == "all" else len(data.categories)
    if data.train_per_class == FOLDERS or not classes:
        raise StageError("--like: the settings of this study do not say how many images it trains on; name another one")
    return int(data.train_per_class) * classes


def as_yaml(name: str, block: Mapping[str, object]) -> str:
    """Return a study as it stands below `studies` in `params.yaml`."""
    text, yaml = io.StringIO(), YAML()
    yaml.dump({name: block}, text)
    return "".join(f"  {line}\n" for line in text.getvalue().splitlines())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the images at a path are, and the settings for a study of them."""
    parser = argparse.ArgumentParser(prog="python -m vgg_ablation.dataset", description=__doc__)
    parser.add_argument("path", metavar="PATH", help="folder, tar or zip of images in folders, or its address")
    parser.add_argument("--like", metavar="STUDY", default="sample", help="study whose other settings are printed")
    given = parser.parse_args(arguments)
    with stage("dataset", saved="") as console:
        studies = read_studies(StudySettings)
        one_of("--like", given.like, studies)
        state = repository_root() / ".state"
        state.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=state, prefix="inspect-") as folder:
            archive = Path(folder) / "images.tar"
            listing = obtain(given.path, archive, console)
            chosen = choose(listing, "all", clutter=True)
            found = inspect(archive, chosen.members, chosen.strays, console)
        sys.stdout.writelines(f"{line}\n" for line in describe(found))
        if small := found.too_small():
            said = ", ".join(f"{category} ({found.categories[category]})" for category in small)
            sys.stdout.write(f"not in the settings, as too small to train, validate and test on: {said}\n")
        if len(found.categories) - len(small) < 2:
            sys.stdout.write("settings: none; a study needs at least two categories with enough usable images\n")
            return
        block = settings(found, given.path, studies[given.like])
        sys.stdout.write(f"settings, to paste below `studies:` in params.yaml (like `{given.like}`):\n\n")
        sys.stdout.write(as_yaml("own", block))


if __name__ == "__main__":
    main()
