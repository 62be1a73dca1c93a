"""The pages of methods as Markdown, for `docs/methods.md`, and as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tui_tuner.cli.reference.method_page import MethodPage
from tui_tuner.locales import _

_REGENERATE = "make docs"


def write_markdown(pages: Sequence[MethodPage]) -> str:
    """Return a document with a table of all methods and a section for each."""
    lines = [
        f"<!-- made from the declarations of methods by `{_REGENERATE}`: edit those, not this file -->",
        "",
        f"# {_('Methods')}",
        "",
        _("What `method.kind` may be. The form and `tui-tuner methods` say the same."),
        "",
        f"| {_('kind')} | {_('what it does')} |",
        "|---|---|",
        *(f"| [`{page.name}`](#{page.name}) | {_escape(page.summary)} |" for page in pages),
    ]
    for page in pages:
        lines += ["", *_write_section(page)]
    return "\n".join(lines) + "\n"


def _write_section(page: MethodPage) -> list[str]:
    lines = [f'<a id="{page.name}"></a>', "", f"## {page.label}", "", f"`method.kind: {page.name}`", ""]
    lines += [page.summary, ""]
    lines += [page.paragraph, ""] if page.paragraph else []
    lines += [f"- **{name}**: {text}" for name, text in page.facts]
    if page.fields:
        lines += [
            "",
            f"| {_('field')} | {_('default')} | {_('values')} | {_('what it is')} |",
            "|---|---|---|---|",
        ]
        for field in page.fields:
            cells = map(_escape, (field.default, field.accepted, field.help))
            lines.append(f"| `{field.name}` | {' | '.join(cells)} |")
    return lines


def _escape(text: str) -> str:
    """Return text for a cell of a table, in which Markdown reads nothing as its own signs."""
    for sign in ("\\", "|", "*", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text


def write_plain(page: MethodPage, width: int) -> list[str]:
    """Return the page as lines of at most `width` characters, apart from single longer words."""
    lines = [f"{page.label} ({page.name})", "", *_wrap(page.summary, width)]
    lines += ["", *_wrap(page.paragraph, width)] if page.paragraph else []
    lines.append("")
    for name, text in page.facts:
        lines += _wrap(f"{name}: {text}", width, "  ")
    for field in page.fields:
        lines += ["", *_wrap(_("{field}, default {default}", field=field.name, default=field.default), width)]
        lines += _wrap(field.help, width, "  ", "  ")
        lines += _wrap(_("Values: {values}", values=field.accepted), width, "  ", "  ")
    return lines


def _wrap(text: str, width: int, later: str = "", first: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
