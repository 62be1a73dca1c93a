"""A comparison of runs: their curves in one chart, and below it the differences between them."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.evaluation.run_overlay import BY, RunOverlay, find_run_differences, read_overlay
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import fit_screen_column, render_run_state
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.overlay_chart import COLOURS, LETTERS, TRAINING, OverlayChart
from tui_tuner.ui.widgets.zoom import Zooms
from tui_tuner.verdicts.verdict_lines import find_verdict_label

MOST_RUNS = len(LETTERS)
_NAME, _VALUE = 26, 14  # cells of a name, and the least for a value


class RunRead(Message):
    """One of the runs, read from its journal."""

    def __init__(self, found: RunOverlay) -> None:
        super().__init__()
        self.found = found


class OverlayScreen(Zooms, TunerScreen):
    """Curves of several runs above, their differences below."""

    HELP_TEXT = _(
        "Each run has a letter, which marks its curve.\n"
        "m switches the measure: the training loss, then every metric of held-out rows.\n"
        "b switches the horizontal axis: steps, trained tokens, seconds of training.\n"
        "The differences are below: results first, then settings. Equal values are left out."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("m", "measure", _("Measure")),
        Binding("b", "by", _("Steps/tokens/time")),
        *Zooms.ZOOM,
        Binding("q", "app.quit", _("Quit")),
    ]
    PANES = ("#differences", "#curves")
    DEFAULT_CSS = """
    OverlayScreen #curves { height: 55%; margin-top: 1; padding: 0 1; }
    OverlayScreen #differences { height: 1fr; }
    """

    def __init__(self, folders: list[RunFolder]) -> None:
        super().__init__()
        self._folders = folders[:MOST_RUNS]
        self._runs: list[RunOverlay] = []
        self._by, self._metric = "step", TRAINING

    def build_crumb(self) -> Content:
        return Content(_("{count} runs compared", count=len(self._folders)))

    def compose_body(self) -> ComposeResult:
        yield OverlayChart(id="curves", classes="panel")
        with VerticalScroll(id="differences", classes="panel") as box:
            box.border_title = Content(_("Differences"))
            yield Fitted(self._table_content)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#differences"))
        self._read_runs()

    @work(thread=True, group="overlay")
    def _read_runs(self) -> None:
        """Read the runs in a thread, and post each as soon as it is read."""
        worker = get_current_worker()
        for folder in self._folders:
            found = read_overlay(folder)
            if worker.is_cancelled:
                return
            # Journals may be long, so a run is on view before the next one is read.
            self.post_message(RunRead(found))

    def on_run_read(self, message: RunRead) -> None:
        self._runs.append(message.found)
        self._show_runs()

    def _show_runs(self) -> None:
        self.query_one(OverlayChart).show_runs(list(self._runs), self._by, self._metric)
        self.query_one(Fitted).show_drawn(self._table_content)

    def action_measure(self) -> None:
        """Switch to the next measure that any of the runs has."""
        # `dict.fromkeys` keeps the order in which the runs name their metrics; a set would not.
        names = [TRAINING, *dict.fromkeys(name for run in self._runs for name in run.held_out)]
        now = names.index(self._metric) if self._metric in names else 0
        self._metric = names[(now + 1) % len(names)]
        self._show_runs()

    def action_by(self) -> None:
        """Switch the horizontal axis."""
        names = list(BY)
        self._by = names[(names.index(self._by) + 1) % len(names)]
        self._show_runs()

    def _table_content(self, width: int) -> Content:
        """Return the runs with their letters, and their differences once all are read."""
        runs = self._runs
        lines = [_run_line(place, run, width) for place, run in enumerate(runs)]
        left = len(self._folders) - len(runs)
        # Differences are only known between all runs: those of the first few would change with each further
        # one.
        if left:
            done = _("reading the journals: {done} of {total}", done=len(runs), total=len(self._folders))
            return Content("\n").join([*lines, Content(done).stylize("$dim")])
        results = find_run_differences([_name_results(run) for run in runs])
        settings = find_run_differences([run.settings for run in runs])
        draw = partial(_difference_line, width=width, count=len(runs))
        lines += [draw(row) for row in results]
        if settings:
            lines.append(Content(_("Settings")).stylize("$primary"))
            lines += [draw(row) for row in settings]
        elif len(runs) > 1:
            lines.append(Content(_("All settings are the same.")).stylize("$dim"))
        return Content("\n").join(lines)


def _run_line(place: int, run: RunOverlay, width: int) -> Content:
    letter = (f"{LETTERS[place]} ", f"bold {COLOURS[place]}")
    state = render_run_state(run.state, verdict=run.verdict)
    name = one_line(run.name, max(10, width - state.cell_length - 5))
    return Content.assemble(letter, state, "  ", name)


def _name_results(run: RunOverlay) -> dict[str, str]:
    """Return the results of a run by name, its verdict first."""
    return {_("verdict"): find_verdict_label(run.verdict) or "–", **run.results}


def _difference_line(row: tuple[str, list[str]], width: int, count: int) -> Content:
    """Return a difference on one line, or with each value on its own line if they do not fit."""
    name, values = row
    each = max(_VALUE, (width - _NAME) // max(1, count))
    fits = each * count + _NAME <= width and all(len(value) < each for value in values)
    parts: list[str | tuple[str, str]] = [(fit_screen_column(name, _NAME if fits else width), "$dim")]
    for place, value in enumerate(values):
        letter = (f"{LETTERS[place]} ", f"bold {COLOURS[place]}")
        if fits:
            parts += [letter, fit_screen_column(value, each - 2)]
        else:
            parts += ["\n    ", letter, fit_screen_column(value, width - 6)]
    return Content.assemble(*parts)
