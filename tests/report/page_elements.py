"""What an HTML page consists of."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "rect", "path", "use"}


class Page(HTMLParser):
    """The elements of a page; fails on one that is closed out of turn."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        """What stands in each kind of element."""
        self.feed(text)
        assert self.open == []

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a kind."""
        return [attributes for kind, attributes in self.elements if kind == tag]

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, of whatever element."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str):
        if self.open:
            self.text[self.open[-1]][-1] += data

    def handle_endtag(self, tag: str):
        if tag not in VOID:
            assert self.open.pop() == tag
