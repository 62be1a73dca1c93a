"""The list of models, one per line, under headings for their origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.base_models.fetches import FAILED, FETCHING, FetchJob
from tui_tuner.ui.base_models.fits import FITS, MISFIT, UNKNOWN, UNSUITED, Fit
from tui_tuner.ui.base_models.model_description import format_parameter_count
from tui_tuner.ui.base_models.model_rows import HUB, ModelRow, name_list_place
from tui_tuner.ui.screen_words import fit_screen_column

_MARK, _COUNT, _SIZE, _LICENCE, _FIT = 2, 7, 11, 13, 13
_NARROW = 64  # narrower lists (in cells) omit the licence
_HEAD = "head "
_MOVING = ("up", "down", "home", "end", "pageup", "pagedown")


class Heads(Widget):
    """The column headings above a `ModelList`."""

    DEFAULT_CSS = "Heads { height: 1; padding-right: 1; }"

    def render(self) -> Content:
        return make_model_heading(self.content_size.width)


class Scrolled(Message):
    """Other models have become visible."""


class ModelList(OptionList):
    """Rows of models; the id of an option is the key of its row."""

    DEFAULT_CSS = "ModelList { scrollbar-gutter: stable; }"  # keeps columns under their headings

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.rows: dict[str, ModelRow] = {}
        self.held = False  # the user has moved the cursor
        self._shown: list[str] = []
        self._keys: list[str] = []
        self._fits: Mapping[str, Fit] = {}
        self._jobs: Mapping[str, FetchJob] = {}

    def on_resize(self) -> None:
        self._draw_lines(force=True)

    def on_key(self, event: events.Key) -> None:
        self.held = self.held or event.key in _MOVING

    def on_click(self) -> None:
        self.held = True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(Scrolled())

    @property
    def chosen_row(self) -> ModelRow | None:
        """The row under the cursor."""
        option = self.highlighted_option
        return self.rows.get(option.id or "") if option is not None else None

    @property
    def in_sight(self) -> list[ModelRow]:
        """The visible rows."""
        first = int(self.scroll_offset.y)
        keys = self._keys[first : first + max(1, self.scrollable_content_region.height)]
        return [self.rows[key] for key in keys if key in self.rows]

    def show_rows(
        self,
        rows: Sequence[ModelRow],
        fits: Mapping[str, Fit],
        jobs: Mapping[str, FetchJob],
        cursor: str = "",
    ) -> None:
        """Show rows; while they are the same ones, only changed lines are redrawn.

        Args:
            cursor: Key or name of the row that gets the cursor, unless the user has moved it; otherwise the
                first row that the task can use.
        """
        self.rows = {row.key: row for row in rows}
        self._fits, self._jobs = fits, jobs
        keys: list[str] = []
        place = ""
        for row in rows:
            # Rows come sorted by place, so a new place starts a new heading.
            if row.place != place:
                place = row.place
                keys.append(f"{_HEAD}{place}")
            keys.append(row.key)
        if keys == self._keys:
            self._draw_lines()
            return
        # Answers of hubs come late and in between: the cursor must stay on its model.
        under = self.highlighted_option if self.held else None
        kept = under.id if under is not None else None
        self._keys = keys
        self.clear_options()
        self.add_options(Option(Content(""), key, disabled=key.startswith(_HEAD)) for key in keys)
        self._shown = [""] * len(keys)
        self._draw_lines()
        named = [key for key in keys if key in self.rows and cursor in (key, self.rows[key].name)]
        suited = sorted(self.rows, key=lambda key: key in fits and fits[key].state == UNSUITED)
        places = [key for key in (kept, *named, *suited) if key in self.rows]
        self.highlighted = keys.index(places[0]) if places else None

    def _draw_lines(self, force: bool = False) -> None:
        width = self.scrollable_content_region.width or self.size.width
        if not width:
            return
        # Replacing the prompt of an option lays out the list again, so only changed lines are replaced.
        for index, key in enumerate(self._keys):
            line = self._make_line(key, width)
            if force or line.markup != self._shown[index]:
                self._shown[index] = line.markup
                self.replace_option_prompt_at_index(index, line)

    def _make_line(self, key: str, width: int) -> Content:
        if key in self.rows:
            return format_model_row(self.rows[key], self._fits.get(key), self._jobs.get(key), width)
        place = key.removeprefix(_HEAD)
        source = next((row.source for row in self.rows.values() if row.place == place), "")
        return Content(name_list_place(place, source)).stylize("$dim")


def _divide_width(width: int) -> tuple[int, int]:
    """Return the widths of name and licence in cells."""
    licence = _LICENCE if width >= _NARROW else 0
    return max(8, width - _MARK - _COUNT - _SIZE - licence - _FIT), licence


def make_model_heading(width: int) -> Content:
    """Return the column headings for `format_model_row`."""
    name, licence = _divide_width(width)
    text = (
        " " * _MARK + fit_screen_column(_("model"), name) + _("params").rjust(_COUNT) + _("size").rjust(_SIZE)
    )
    text += ("  " + fit_screen_column(_("licence"), licence - 2)) if licence else ""
    return Content(text + "  " + fit_screen_column(_("needs"), _FIT - 2)).stylize("$dim")


def format_model_row(row: ModelRow, fit: Fit | None, job: FetchJob | None, width: int) -> Content:
    """Format name, parameters, size, licence and fit of a model in `width` cells."""
    name_width, licence_width = _divide_width(width)
    mark, colour = _choose_mark(row, job)
    parts: list[str | tuple[str, str]] = [
        (fit_screen_column(mark, _MARK), colour),
        fit_screen_column(shorten_model_name(row.name, name_width - 1), name_width - 1) + " ",
        (format_parameter_count(row.parameters).rjust(_COUNT), "$dim"),
        (_format_size(row, job).rjust(_SIZE), "$primary" if job is not None and job.is_active else ""),
    ]
    if licence_width:
        words = _("gated") if row.gated and not row.is_here else row.licence
        style = "$warning" if row.gated and not row.is_here else "$dim"
        parts.append(("  " + fit_screen_column(words, licence_width - 2), style))
    words, style = format_model_fit(fit)
    parts.append(("  " + fit_screen_column(words, _FIT - 2), style))
    return Content.assemble(*parts)


def shorten_model_name(name: str, width: int) -> str:
    """Shorten a name to `width` cells by cutting its owner, as the rest distinguishes models."""
    line = one_line(name)
    owner, slash, rest = line.rpartition("/")
    left = width - cell_len(rest) - 2
    if cell_len(line) <= width or not slash or left < 1:
        return line
    return f"{set_cell_size(owner, left).rstrip()}…/{rest}"


def _choose_mark(row: ModelRow, job: FetchJob | None) -> tuple[str, str]:
    if job is not None and job.is_active:
        return "⇣", "$primary"
    if job is not None and job.state == FAILED and not (row.is_here and row.whole):
        return "✗", "$error"
    if not row.is_here:
        return "", ""
    return ("●", "$success") if row.whole else ("◐", "$warning")


def _format_size(row: ModelRow, job: FetchJob | None) -> str:
    if job is not None and job.is_active:
        if job.state != FETCHING:
            return _("waiting")
        return f"{job.share:.0%}" if job.share is not None else format_bytes(job.done)
    if row.bytes is None:
        return "?" if row.place == HUB else ""
    if row.is_partial and row.total:
        return _("{share:.0%} here", share=min(1.0, row.bytes / row.total))
    if row.is_partial:
        return _("{size} …", size=format_bytes(row.bytes))
    return f"~{format_bytes(row.bytes)}" if row.derived else format_bytes(row.bytes)


def format_model_fit(fit: Fit | None) -> tuple[str, str]:
    """Return a short verdict (mark and memory) and its style."""
    if fit is None:
        return "…", "$dim"
    if fit.state == UNKNOWN:
        return _("? unknown"), "$dim"
    if fit.state == UNSUITED:
        return _("✗ unsuited"), "$warning"
    mark, style = {FITS: ("✓", "$success"), MISFIT: ("✗", "$error")}[fit.state]
    return f"{mark} {fit.needs:.1f} GiB" if fit.needs < 1000 else f"{mark} {fit.needs:,.0f} GiB", style
