"""The verdict on a run: its meaning, confidence, evidence, and what to change."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_tuner.config.advice import write_shell_value
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import describe_run_state, mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.live.chart_data import ChartData, find_marked_piece
from tui_tuner.ui.widgets.live.run_chart import RunChart
from tui_tuner.verdicts.verdict_lines import (
    describe_confidence,
    find_verdict_meaning,
    format_verdict_headline,
    list_settings_advice,
    list_verdict_advice,
    list_verdict_evidence,
)
from tui_tuner.verdicts.verdict_words import Advice


class CurvePiece(RunChart):
    """The losses around the step since which a verdict holds."""

    DEFAULT_CSS = "CurvePiece { height: 8; min-height: 8; padding: 0; border: none; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        # RunChart draws the border of a panel, but here the pane around it has one.
        self.remove_class("panel")
        self._since: int | None = None

    def show_since(self, view: RunView, since: int | None) -> None:
        """Draw that piece of a run's curve."""
        self._since, self._view = since, view
        self.repaint(force=True)

    def _make_chart(self, columns: int) -> ChartData:
        return find_marked_piece(self._view, self._since, columns)

    def _update_title(self, chart: ChartData) -> None:
        """Set no title: the pane around it has one."""


class VerdictPane(Vertical):
    """The verdict in words, with a piece of the curve; hidden if there is no verdict."""

    DEFAULT_CSS = """
    VerdictPane { height: auto; display: none; layout: vertical; }
    VerdictPane.-judged { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = Content(_("Verdict"))

    def compose(self) -> ComposeResult:
        yield Fitted(_make_empty)
        yield CurvePiece()

    def show_waiting(self) -> None:
        """Show that the journal of an older version is being judged."""
        self.add_class("-judged")
        self.query_one(CurvePiece).display = False
        said = Content(_("Reading the curves…")).stylize("$dim")
        self.query_one(Fitted).show_drawn(lambda _width: said)

    def show_verdict(self, view: RunView) -> None:
        """Show the verdict of a run, or nothing if there is none."""
        found = view.verdict
        self.set_class(found is not None, "-judged")
        if found is None:
            return
        said, piece = format_verdict_pane(found), self.query_one(CurvePiece)
        self.query_one(Fitted).show_drawn(lambda _width: said)
        piece.display = bool(view.steps)
        piece.show_since(view, found.since_step)


def _make_empty(_width: int) -> Content:
    return Content("")


def format_verdict_pane(found: Verdict) -> Content:
    """Format a verdict in lines: headline, meaning, evidence and advice."""
    sign, _word, colour = describe_run_state("completed", found.verdict)
    head = Content.assemble(
        (f"{sign} {format_verdict_headline(found)}", f"bold {colour}"),
        ("  " + describe_confidence(found.confidence), "$dim"),
    )
    meaning = find_verdict_meaning(found.verdict)
    lines = [head, *([Content(meaning)] if meaning else [])]
    lines += [_format_point(said) for said in list_verdict_evidence(found)]
    advice = list_verdict_advice(found)
    if advice:
        said = _("What to do:")
        if list_settings_advice(found):
            said = _("What to change ({key} creates a new config):", key=mark_placeholder_value("F4"))
        lines.append(render_marked_sentence(said, "$dim"))
        lines += [draw_verdict_advice(number, item) for number, item in enumerate(advice, 1)]
    return Content("\n").join(lines)


def _format_point(said: str) -> Content:
    return Content.assemble(("· ", "$dim"), said)


def draw_verdict_advice(number: int, item: Advice) -> Content:
    """Format a piece of advice with the values that it sets."""
    values = format_advice_values(item)
    return Content.assemble((f"{number} ", "bold"), item.words, (f"  {values}" if values else "", "$accent"))


def format_advice_values(item: Advice) -> str:
    """Format the values of a piece of advice as in a config."""
    return ", ".join(
        f"{one_line(path, 60)} = {one_line(write_shell_value(value), 60)}"
        for path, value in item.values.items()
    )
