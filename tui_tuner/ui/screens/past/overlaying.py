"""Several runs laid over one another: their curves in one chart, and below it what differs between them."""

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

from tui_tuner.evaluation.overlaid import BY, Overlaid, differences, overlay
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.overlay import COLOURS, LETTERS, TRAINING, OverlayChart
from tui_tuner.ui.widgets.zoom import Zooms
from tui_tuner.ui.words import column, state_content
from tui_tuner.verdicts.told import label_of

MOST_RUNS = len(LETTERS)
_NAME, _VALUE = 26, 14  # cells of what is compared, and at least of a value


class RunRead(Message):
    """One more of the runs was read."""

    def __init__(self, found: Overlaid) -> None:
        super().__init__()
        self.found = found


class OverlayScreen(Zooms, TunerScreen):
    """Curves above, differences below."""

    HELP_TEXT = _(
        "Each run has a letter, which stands on its curve.\n"
        "m goes through what was measured: the training loss, then every metric of held-out rows.\n"
        "b turns the lower axis: steps, trained tokens, seconds of training.\n"
        "Below stands what differs: results first, then settings. What is the same is left out."
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
        self._runs: list[Overlaid] = []
        self._by, self._metric = "step", TRAINING

    def crumb(self) -> Content:
        return Content(_("{count} runs compared", count=len(self._folders)))

    def body(self) -> ComposeResult:
        yield OverlayChart(id="curves", classes="panel")
        with VerticalScroll(id="differences", classes="panel") as box:
            box.border_title = Content(_("What differs"))
            yield Fitted(self._table)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#differences"))
        self._read()

    @work(thread=True, group="overlay")
    def _read(self) -> None:
        """Journals may be long: each is shown as soon as it is read."""
        worker = get_current_worker()
        for folder in self._folders:
            found = overlay(folder)
            if worker.is_cancelled:
                return
            self.post_message(RunRead(found))

    def on_run_read(self, message: RunRead) -> None:
        self._runs.append(message.found)
        self._show()

    def _show(self) -> None:
        self.query_one(OverlayChart).show(list(self._runs), self._by, self._metric)
        self.query_one(Fitted).show(self._table)

    def action_measure(self) -> None:
        """The next measure that one of the runs has."""
        names = [TRAINING, *dict.fromkeys(name for run in self._runs for name in run.held_out)]
        now = names.index(self._metric) if self._metric in names else 0
        self._metric = names[(now + 1) % len(names)]
        self._show()

    def action_by(self) -> None:
        """The next lower axis."""
        names = list(BY)
        self._by = names[(names.index(self._by) + 1) % len(names)]
        self._show()

    def _table(self, width: int) -> Content:
        """The runs with their letters, and what differs between them."""
        runs = self._runs
        lines = [_run_line(place, run, width) for place, run in enumerate(runs)]
        left = len(self._folders) - len(runs)
        if left:
            done = _("reading the journals: {done} of {total}", done=len(runs), total=len(self._folders))
            return Content("\n").join([*lines, Content(done).stylize("$dim")])
        results = differences([_results(run) for run in runs])
        settings = differences([run.settings for run in runs])
        draw = partial(_compared, width=width, count=len(runs))
        lines += [draw(row) for row in results]
        if settings:
            lines.append(Content(_("Settings")).stylize("$primary"))
            lines += [draw(row) for row in settings]
        elif len(runs) > 1:
            lines.append(Content(_("All settings are the same.")).stylize("$dim"))
        return Content("\n").join(lines)


def _run_line(place: int, run: Overlaid, width: int) -> Content:
    letter = (f"{LETTERS[place]} ", f"bold {COLOURS[place]}")
    state = state_content(run.state, verdict=run.verdict)
    name = one_line(run.name, max(10, width - state.cell_length - 5))
    return Content.assemble(letter, state, "  ", name)


def _results(run: Overlaid) -> dict[str, str]:
    """What came of a run, its verdict first."""
    return {_("verdict"): label_of(run.verdict) or "–", **run.results}


def _compared(row: tuple[str, list[str]], width: int, count: int) -> Content:
    """A difference on one line, or, where values have no room there, each on its own."""
    name, values = row
    each = max(_VALUE, (width - _NAME) // max(1, count))
    fits = each * count + _NAME <= width and all(len(value) < each for value in values)
    parts: list[str | tuple[str, str]] = [(column(name, _NAME if fits else width), "$dim")]
    for place, value in enumerate(values):
        letter = (f"{LETTERS[place]} ", f"bold {COLOURS[place]}")
        if fits:
            parts += [letter, column(value, each - 2)]
        else:
            parts += ["\n    ", letter, column(value, width - 6)]
    return Content.assemble(*parts)
