"""Names of nets: a net with batch normalisation is a net of its own, `C_BN` beside the plain `C`."""

ALL = "all"
"""In place of a net, a normalisation or a training scale: all of them."""

NORMS = ("none", "batch")
"""Normalisations of a net: none, as in the paper, or batch normalisation after every convolution."""

SUFFIXES = {"none": "", "batch": "_BN", ALL: "_all"}
"""Suffixes of a net's name in nets.yaml, by normalisation; `_all` names results of both, merged."""


def named(arch: str, norm: str) -> str:
    """Return the name of a net with a normalisation; `arch` is plain, `all`, or several of them joined by `+`.

    `named("D+E", "batch")` is `D_BN+E_BN`, `named("all", "batch")` is `all_BN`.
    """
    return "+".join(one + SUFFIXES[norm] for one in arch.split("+"))


def plain(name: str) -> str:
    """Return a name without its normalisation: `D+E` of `D_BN+E_BN`."""
    return "+".join(one.removesuffix(SUFFIXES[norm_of(one)]) for one in name.split("+"))


def norm_of(name: str) -> str:
    """Return the normalisation of what `named` named."""
    return next((norm for norm, suffix in SUFFIXES.items() if suffix and name.endswith(suffix)), "none")


def chosen(selected: str, every: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a setting selects: each of `every` if it is `all`, else itself alone."""
    return every if selected == ALL else (selected,)
