"""Text from outside (names, addresses, messages of libraries) made safe to show."""

import re


def printable(text: str, longest: int | None = None) -> str:
    r"""Return `text` as one line that any terminal, table or page can show.

    Characters that do not print (control characters, line ends, lone surrogates) are written as escapes such as
    `\x1b`. What is longer than `longest` characters is cut and ends in `...`.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 3]}..."
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def without_credentials(text: str) -> str:
    """Return an address, or text that quotes one, without the `user:password@` and the query in it."""
    return re.sub(r"(\?)[^\s'\")]+", r"\1***", re.sub(r"(?<=://).*@", "***@", text, flags=re.DOTALL))
