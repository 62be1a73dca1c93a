"""Text and Markdown of HTML: for documents that are HTML, and for HTML inside the fields of a row.

The text is gathered while HTML is read, in time that grows with its length: a tree, which has to be built for
Markdown, takes minutes for elements that are nested a thousand deep, or twenty thousand line breaks.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

MAX_DEPTH = 200  # elements in one another; pages have 10 to 40, and a tree of more takes quadratic time
_HTML = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_GONE = {"script", "style", "head", "template", "noscript"}  # with all that is in them
_RUBY = {"rt", "rp"}  # how a character is read aloud stands beside it
_BLOCKS = {
    "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol",
}  # fmt: skip
_EMPTY = {
    "area", "base", "basefont", "bgsound", "br", "col", "command", "embed", "frame", "hr", "image", "img",
    "input", "isindex", "keygen", "link", "menuitem", "meta", "nextid", "param", "source", "spacer", "track",
    "wbr",
}  # fmt: skip
_KEPT = {"pre", "textarea"}  # white space counts
_SPACES = " \n\t\f\r"
_NUMBER = re.compile(r"&#([xX]?)0*+([0-9a-fA-F]{1,8})[0-9a-fA-F]*+")  # no character's number is longer
_MOST_BLANKS = 200  # together: markdownify's patterns try each of them anew
_LONG = re.compile(rf"\s{{{_MOST_BLANKS + 1},}}+")
_COMMENT = "<!--"


class Unparsable(ValueError):
    """HTML that nobody has written: nested without end, or comments in comments."""


def html_to_text(text: str) -> str:
    """The text of HTML with line breaks for `<br>` and blocks; other text unchanged.

    Raises:
        Unparsable: it cannot be read in a reasonable time.
    """
    if not _HTML.search(text):
        return text
    lines = [" ".join(line.split()) for line in _read(text).text().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_to_markdown(text: str) -> str:
    """Markdown of HTML; other text unchanged.

    Raises:
        Unparsable: it cannot be read in a reasonable time.
    """
    if not _HTML.search(text):
        return text
    if _read(text).deepest > MAX_DEPTH:
        raise Unparsable(f"more than {MAX_DEPTH} elements in one another")
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    text = _LONG.sub(lambda blanks: blanks.group()[:_MOST_BLANKS], _harmless(text))
    soup = BeautifulSoup(text, "html.parser")
    for gone in soup(list(_GONE)):
        gone.decompose()
    found = MarkdownConverter(heading_style="ATX", bullets="-").convert_soup(soup)
    return re.sub(r"\n{3,}", "\n\n", found).strip()


def _read(text: str) -> _Text:
    reader = _Text()
    try:
        reader.feed(_harmless(text))
        reader.close()
    except AssertionError as error:  # of `html.parser`, for declarations that are none
        raise Unparsable(str(error)) from None
    return reader


def _harmless(text: str) -> str:
    """The same HTML without numbers of thousands of digits, which its parser refuses.

    Raises:
        Unparsable: comments without end, which take its parser long.
    """
    if "&#" in text:
        text = _NUMBER.sub(r"&#\1\2", text)
    if text.count(_COMMENT, text.rfind("-->") + 1) > 50:
        raise Unparsable("comments that do not end")
    return text


class _Text(HTMLParser):
    """Gathers the text of HTML, with the nesting that a tree of it would have.

    Attributes:
        deepest: How many elements are in one another.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.deepest = 0
        self._parts: list[str] = []
        self._piece: list[str] = []  # text since the last mark
        self._open: list[str] = []
        self._counts: dict[str, int] = {}
        # How many of the open elements are left out, hold the sound of a character, or keep white space
        self._silent = self._ruby = self._kept = 0

    def text(self) -> str:
        """All of it, once everything was fed."""
        self._flush()
        while self._open:
            self._pop()
        return "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._flush()
        if tag == "br" and not self._silent:
            self._parts.append("\n")
        if tag in _EMPTY:
            return
        self._open.append(tag)
        self._counts[tag] = self._counts.get(tag, 0) + 1
        self._silent += tag in _GONE
        self._ruby += tag in _RUBY
        self._kept += tag in _KEPT
        self.deepest = max(self.deepest, len(self._open))

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        while self._counts.get(tag) and self._pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self._piece.append(data)

    def handle_comment(self, data: str) -> None:
        self._flush()

    def handle_decl(self, decl: str) -> None:
        self._flush()

    def handle_pi(self, data: str) -> None:
        self._flush()

    def unknown_decl(self, data: str) -> None:
        self._flush()
        if data.upper().startswith("CDATA[") and not self._silent:
            self._parts.append(data[len("CDATA[") :])

    def _pop(self) -> str:
        tag = self._open.pop()
        self._counts[tag] -= 1
        self._silent -= tag in _GONE
        self._ruby -= tag in _RUBY
        self._kept -= tag in _KEPT
        if tag in _BLOCKS and not self._silent:
            self._parts.append("\n")
        return tag

    def _flush(self) -> None:
        """A piece of text is complete; white space alone is one blank or line end, however much it is."""
        piece = "".join(self._piece)
        self._piece.clear()
        if self._silent or self._ruby or not piece:
            return
        if not self._kept and not piece.strip(_SPACES):
            piece = "\n" if "\n" in piece else " "
        self._parts.append(piece)
