"""Text and Markdown of HTML: for documents that are HTML, and for HTML inside the fields of a row."""

from __future__ import annotations

import re

_HTML = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,5});")


def html_to_text(text: str) -> str:
    """The text of HTML with line breaks for `<br>` and blocks; other text unchanged."""
    if not _HTML.search(text):
        return text
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for gone in soup(["script", "style", "head", "template", "noscript"]):
        gone.decompose()
    for line in soup(["br"]):
        line.replace_with("\n")
    for block in soup(
        ["p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol"]
    ):
        block.append("\n")
    lines = [" ".join(line.split()) for line in soup.get_text().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_to_markdown(text: str) -> str:
    """Markdown of HTML; other text unchanged."""
    if not _HTML.search(text):
        return text
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(text, "html.parser")
    for gone in soup(["script", "style", "head", "template", "noscript"]):
        gone.decompose()
    found = MarkdownConverter(heading_style="ATX", bullets="-").convert_soup(soup)
    return re.sub(r"\n{3,}", "\n\n", found).strip()
