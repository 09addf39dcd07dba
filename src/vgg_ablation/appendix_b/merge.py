"""Lists of the nets of a selection, so that the report depends on one file."""

from pathlib import Path

from vgg_ablation.appendix_b.nets import BOTH, NETS_FILE
from vgg_ablation.files import read_json, write_json
from vgg_ablation.model.published import PUBLISHED
from vgg_ablation.runtime.names import ALL, NORMS, named
from vgg_ablation.runtime.paths import appendix_b


def merge(arch: str, norm: str) -> Path:
    """Write nets.json of all nets with a normalisation, or of what both normalisations have; return its folder.

    Raises:
        OSError: a file cannot be read or written.
        StageError: a file is damaged.
    """
    parts = [named(arch, one) for one in NORMS] if norm == ALL else [named(one, norm) for one in (*PUBLISHED, BOTH)]
    found = {}
    for part in parts:
        found |= read_json(appendix_b(part, "classification") / NETS_FILE)
    folder = appendix_b(named(arch, norm), "classification")
    write_json(folder / NETS_FILE, found)
    return folder
