"""Convert HTML to text or Markdown: for HTML documents, and for HTML inside the fields of a row.

Text is collected while HTML is parsed, in time that grows with its length. Markdown needs a tree, which takes
minutes for elements that are nested a thousand deep, or for twenty thousand line breaks.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

MAX_DEPTH = 200  # nested elements; pages have 10 to 40, and a deeper tree takes quadratic time
_HTML = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_GONE = {"script", "style", "head", "template", "noscript"}  # dropped with their content
_RUBY = {"rt", "rp"}  # the pronunciation next to a character
_BLOCKS = {
    "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol",
}  # fmt: skip
_EMPTY = {
    "area", "base", "basefont", "bgsound", "br", "col", "command", "embed", "frame", "hr", "image", "img",
    "input", "isindex", "keygen", "link", "menuitem", "meta", "nextid", "param", "source", "spacer", "track",
    "wbr",
}  # fmt: skip
_KEPT = {"pre", "textarea"}  # white space matters in them
_SPACES = " \n\t\f\r"
_NUMBER = re.compile(r"&#([xX]?)0*+([0-9a-fA-F]{1,8})[0-9a-fA-F]*+")  # no code point is longer
_MOST_BLANKS = 200  # in a row: markdownify's patterns start again at each of them
_LONG = re.compile(rf"\s{{{_MOST_BLANKS + 1},}}+")
_COMMENT = "<!--"


class UnparsableHtml(ValueError):
    """HTML that is not a real page: nested without end, or comments inside of comments."""


def convert_html_to_text(text: str) -> str:
    """Convert HTML to text, with line breaks for `<br>` and blocks; other text stays unchanged.

    Raises:
        Unparsable: it cannot be parsed in a reasonable time.
    """
    # Text with a bare "<" or "&" is not HTML, and must stay as it is.
    if not _HTML.search(text):
        return text
    lines = [" ".join(line.split()) for line in _read_html(text).collect_text().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def convert_html_to_markdown(text: str) -> str:
    """Convert HTML to Markdown; other text stays unchanged.

    Raises:
        Unparsable: it cannot be parsed in a reasonable time.
    """
    if not _HTML.search(text):
        return text
    if _read_html(text).deepest > MAX_DEPTH:
        raise UnparsableHtml(f"more than {MAX_DEPTH} elements in one another")
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    text = _LONG.sub(lambda blanks: blanks.group()[:_MOST_BLANKS], _make_parsable(text))
    soup = BeautifulSoup(text, "html.parser")
    for gone in soup(list(_GONE)):
        gone.decompose()
    found = MarkdownConverter(heading_style="ATX", bullets="-").convert_soup(soup)
    return re.sub(r"\n{3,}", "\n\n", found).strip()


def _read_html(text: str) -> _TextCollector:
    reader = _TextCollector()
    try:
        reader.feed(_make_parsable(text))
        reader.close()
    # `html.parser` raises this for malformed declarations.
    except AssertionError as error:
        raise UnparsableHtml(str(error)) from None
    return reader


def _make_parsable(text: str) -> str:
    """Shorten numbers of thousands of digits, which the parser refuses.

    Raises:
        Unparsable: there are many comments without an end, which take the parser very long.
    """
    if "&#" in text:
        text = _NUMBER.sub(r"&#\1\2", text)
    if text.count(_COMMENT, text.rfind("-->") + 1) > 50:
        raise UnparsableHtml("comments that do not end")
    return text


class _TextCollector(HTMLParser):
    """Collects the text of HTML, and measures how deep a tree of it would be.

    Attributes:
        deepest: The deepest nesting of elements.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.deepest = 0
        self._parts: list[str] = []
        self._piece: list[str] = []  # text since the last mark
        self._open: list[str] = []
        self._counts: dict[str, int] = {}
        # How many of the open elements are dropped, hold a pronunciation, or keep white space
        self._silent = self._ruby = self._kept = 0

    def collect_text(self) -> str:
        """Return all text, after everything was fed."""
        self._end_piece()
        while self._open:
            self._close_element()
        return "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._end_piece()
        if tag == "br" and not self._silent:
            self._parts.append("\n")
        # These have no end tag, so they would stay open for ever.
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
        self._end_piece()
        # An end tag also closes the elements inside that were never closed; one that was not opened is
        # ignored.
        while self._counts.get(tag) and self._close_element() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self._piece.append(data)

    def handle_comment(self, data: str) -> None:
        self._end_piece()

    def handle_decl(self, decl: str) -> None:
        self._end_piece()

    def handle_pi(self, data: str) -> None:
        self._end_piece()

    def unknown_decl(self, data: str) -> None:
        self._end_piece()
        if data.upper().startswith("CDATA[") and not self._silent:
            self._parts.append(data[len("CDATA[") :])

    def _close_element(self) -> str:
        tag = self._open.pop()
        self._counts[tag] -= 1
        self._silent -= tag in _GONE
        self._ruby -= tag in _RUBY
        self._kept -= tag in _KEPT
        if tag in _BLOCKS and not self._silent:
            self._parts.append("\n")
        return tag

    def _end_piece(self) -> None:
        """End a piece of text; white space alone becomes one blank or one line end."""
        piece = "".join(self._piece)
        self._piece.clear()
        if self._silent or self._ruby or not piece:
            return
        if not self._kept and not piece.strip(_SPACES):
            piece = "\n" if "\n" in piece else " "
        self._parts.append(piece)
