"""Remove resume state that nothing can reach any more: `python -m vgg_ablation.scratch` (make clean-scratch).

Of the state under `.state/` goes what no study of params.yaml as it stands can go on from with this code and these
libraries (`reachable` says what that means), unless a process is at it, and, there and under `data/`, `results/` and
`reports/`, what killed processes left half-written. Settings given by `-S` alone are not known here: the state of an
experiment in a temporary copy goes, and is computed again when it is wanted. What else lies under `.state`, as the
locks of the stages, stays.
"""

from contextlib import suppress

from vgg_ablation.model.configurations import ARCHITECTURES
from vgg_ablation.pipeline.console import Stage, stage
from vgg_ablation.pipeline.files import size
from vgg_ablation.pipeline.params import one_of, read_params, read_studies
from vgg_ablation.pipeline.state import repository_root
from vgg_ablation.scratch.reachable import DOWNLOAD, KINDS, judge
from vgg_ablation.scratch.removal import count_bytes, find_abandoned, list_folders, remove_unless_in_use
from vgg_ablation.settings import SELECTIONS, StudySettings

_STATE = ".state"
_WRITTEN_TO = (_STATE, "data", "results", "reports")


def main() -> None:
    """Judge, remove and print."""
    with stage("scratch") as report:
        params = read_params()
        one_of("params.yaml: arch", params.arch, ("all", *ARCHITECTURES))
        one_of("params.yaml: scale", params.scale, SELECTIONS)
        studies = read_studies(StudySettings)
        freed = _remove_abandoned(report)
        removed, kept = [], []
        for kind in (*KINDS, DOWNLOAD):
            for folder in list_folders(repository_root(), f"{_STATE}/{kind}"):
                taken, verdict = count_bytes(folder), judge(kind, folder, studies)
                about = f"{kind}/{folder.name}{verdict.net and f', net {verdict.net}'}: {size(taken)}"
                if not verdict.why:
                    kept.append(taken)
                elif remove_unless_in_use(folder):
                    removed.append(taken)
                    report.say(f"{about} removed: {verdict.why}")
                else:
                    kept.append(taken)
                    report.say(f"{about} kept: {verdict.why}, but a process is at it")
        freed += sum(removed)
        count = f"{len(removed)} folder{'' if len(removed) == 1 else 's'}"
        report.say(f"{count} removed, {size(freed)} freed, {len(kept)} kept ({size(sum(kept))})")


def _remove_abandoned(report: Stage) -> int:
    """Remove what was left half-written, and return how many bytes that were."""
    freed = 0
    for name in _WRITTEN_TO:
        if (folder := repository_root() / name).is_symlink():
            report.say(f"{name} is a symbolic link, and is left alone")
        for path in find_abandoned(folder):
            with suppress(FileNotFoundError):  # a stage removes what was left beside its files, too
                taken = path.lstat().st_size
                path.unlink()
                freed += taken
                report.say(f"{path.relative_to(repository_root())}: {size(taken)} removed: its process is no more")
    return freed


if __name__ == "__main__":
    main()
