"""What any page must be: every element closed in turn, and nothing loaded from elsewhere."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "line", "polyline", "circle"}


class Balance(HTMLParser):
    """Notes every element that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.faults.append(tag)


def is_balanced(html: str) -> bool:
    """Whether all elements are closed, in turn."""
    balance = Balance(html)
    return not balance.faults and not balance.open


def loads_nothing(html: str) -> bool:
    """Whether the page is all there is."""
    return not re.search(r"""(src|href)=["'](?!data:|#)|url\(|@import|<script|<link""", html)
