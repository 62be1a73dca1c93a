"""The text of an answer while it is generated, as Markdown or plain text."""

from __future__ import annotations

import re
import time
from functools import partial

from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Markdown, Static

from tui_tuner.text import sanitize
from tui_tuner.ui.screen_words import make_safe_block

_LONGEST = 40_000  # longer answers (characters) are plain text: each block of Markdown is a widget
_SHORTEST = 0.1  # seconds between two drawings; each sends lines to a terminal that may be far away
_LONGEST_PAUSE = 2.0
_SHARE = 4  # seconds of pause for each second that a drawing took

# List entries after which a new widget starts: `Markdown` rebuilds all entries of a growing list with each
# piece.
_ENTRIES = 20
_ENTRY = re.compile(r"(?:[-*+]|\d{1,9}[.)])[ \t]+\S|[ \t]+(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")

# Rules that would hide a part of the answer (HTML, references), link elsewhere, or produce characters that
# `sanitize` has not checked (entities)
_OFF = ("html_block", "html_inline", "link", "image", "autolink", "linkify", "reference", "entity")


def make_markdown_parser() -> MarkdownIt:
    """Create a Markdown parser that shows links, images, HTML and entities as they were written."""
    made = MarkdownIt("gfm-like", {"html": False, "linkify": False, "breaks": True, "maxNesting": 20})
    return made.disable(list(_OFF), ignoreInvalid=True)


class AnswerText(Vertical):
    """The text that a model has written so far, drawn only as often as there is time.

    Args:
        plain: Show the text unformatted.
    """

    DEFAULT_CSS = """
    AnswerText { height: auto; }
    AnswerText Markdown { padding: 0; margin: 0; background: transparent; }
    AnswerText MarkdownBlock { link-style: none; }
    AnswerText Markdown > MarkdownBlock { margin: 0 0 1 0; }
    AnswerText Markdown > MarkdownBlock:last-child { margin: 0; }
    AnswerText MarkdownH1, AnswerText MarkdownH2, AnswerText MarkdownH3, AnswerText MarkdownH4,
    AnswerText MarkdownH5, AnswerText MarkdownH6 { content-align: left top; width: 1fr; }
    AnswerText MarkdownFence { background: $panel; color: $foreground; }
    AnswerText MarkdownFence > Label { padding: 0 1; }
    AnswerText MarkdownBlockQuote { background: transparent; border-left: outer $line; }
    AnswerText MarkdownTable { background: transparent; }
    AnswerText Static.plain { height: auto; }
    """

    def __init__(self, text: str, plain: bool) -> None:
        super().__init__()
        self._text = sanitize(text)
        self._shown: list[str] = []  # by widget
        self._plain = plain
        self._waits = False
        self._pause = _SHORTEST

    def compose(self) -> ComposeResult:
        yield from self._make_widgets()

    def _make_widgets(self) -> list[Static | Markdown]:
        self._shown = [self._text] if self.is_plain else split_long_lists(self._text)
        if self.is_plain:
            return [Static(make_safe_block(self._text), classes="plain")]
        return [_make_markdown(part) for part in self._shown]

    @property
    def is_plain(self) -> bool:
        """True if the text is shown unformatted."""
        return self._plain or len(self._text) > _LONGEST

    @property
    def is_drawn(self) -> bool:
        """True if all of the text is drawn."""
        return not self._waits and "".join(self._shown) == self._text

    async def show_as(self, plain: bool) -> None:
        """Show the text as plain text or as Markdown."""
        if plain != self._plain:
            was, self._plain = self.is_plain, plain
            if was != self.is_plain:
                await self._rebuild_widgets()

    async def _rebuild_widgets(self) -> None:
        with self.app.batch_update():
            await self.remove_children()
            await self.mount_all(self._make_widgets())

    def set_text(self, text: str) -> None:
        """Set the text; it is drawn after a pause."""
        self._text = sanitize(text)
        if not self._waits and self._text != "".join(self._shown):
            self._waits = True
            self.set_timer(self._pause, partial(self._draw_text))

    async def _draw_text(self) -> None:
        if not self.is_attached:
            return
        # Measured until the next refresh, since Textual builds and paints the widgets only after this
        # returns.
        began = time.monotonic()
        self._waits = False
        shown = [child for child in self.children if isinstance(child, Markdown)]
        if not self.is_plain and shown:
            await self._draw_parts(shown)
        elif self.is_plain and self.children and not shown:
            self._shown = [self._text]
            self.query_one(".plain", Static).update(make_safe_block(self._text))
        else:
            await self._rebuild_widgets()
        self.call_after_refresh(self._note_duration, began)

    async def _draw_parts(self, widgets: list[Markdown]) -> None:
        """Draw only the changed parts, usually the end of the last one."""
        parts, before = split_long_lists(self._text), self._shown
        self._shown = parts
        for widget, part, was in zip(widgets, parts, before, strict=False):
            if part.startswith(was):
                if part != was:
                    # Appending parses only the new text; updating would build every block again.
                    await widget.append(part[len(was) :])
            else:
                await widget.update(part)
        if len(parts) > len(widgets):
            await self.mount_all(_make_markdown(part) for part in parts[len(widgets) :])
        elif len(parts) < len(widgets):
            await self.remove_children(widgets[len(parts) :])

    def _note_duration(self, began: float) -> None:
        self._pause = min(_LONGEST_PAUSE, max(_SHORTEST, _SHARE * (time.monotonic() - began)))
        self.set_text(self._text)


def _make_markdown(text: str) -> Markdown:
    return Markdown(text, parser_factory=make_markdown_parser, open_links=False)


def split_long_lists(text: str) -> list[str]:
    """Split a text before entries of long lists; joined, the parts are the text.

    Only complete lines decide, so that the parts of a growing text stay the same.
    """
    parts, entries, fence = [""], 0, ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        # A fence is only closed by one of the same kind that is at least as long.
        if found and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        if not fence and line.endswith("\n") and _ENTRY.match(line):
            entries += 1
            if entries > _ENTRIES and not line[0].isspace():
                parts.append("")
                entries = 1
        parts[-1] += line
    return parts
