"""The verdict on a run: what it is and means, how sure, on what evidence, and what to change."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_tuner.config.advice import written
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.live.chart import RunChart
from tui_tuner.ui.widgets.live.series import Chart, piece_of
from tui_tuner.ui.words import mark, marked, state_words
from tui_tuner.verdicts.told import advice_of, confidence_words, evidence_of, headline, means_of, ways_of
from tui_tuner.verdicts.words import Advice


class CurvePiece(RunChart):
    """The losses around the step from which on a verdict holds."""

    DEFAULT_CSS = "CurvePiece { height: 8; min-height: 8; padding: 0; border: none; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.remove_class("panel")
        self._since: int | None = None

    def show_since(self, view: RunView, since: int | None) -> None:
        """Draw the piece of this run's curve."""
        self._since, self._view = since, view
        self.repaint(force=True)

    def _chart(self, columns: int) -> Chart:
        return piece_of(self._view, self._since, columns)

    def _title(self, chart: Chart) -> None:
        """The pane around it has one."""


class VerdictPane(Vertical):
    """In words, with the piece of the curve beside or below them; hidden where there is no verdict."""

    DEFAULT_CSS = """
    VerdictPane { height: auto; display: none; layout: vertical; }
    VerdictPane.-judged { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.border_title = Content(_("Verdict"))

    def compose(self) -> ComposeResult:
        yield Fitted(_nothing)
        yield CurvePiece()

    def wait(self) -> None:
        """A journal of an older version is being judged."""
        self.add_class("-judged")
        self.query_one(CurvePiece).display = False
        said = Content(_("The curves are being read …")).stylize("$dim")
        self.query_one(Fitted).show(lambda _width: said)

    def show(self, view: RunView) -> None:
        """Show the verdict of a run; nothing where there is none."""
        found = view.verdict
        self.set_class(found is not None, "-judged")
        if found is None:
            return
        said, piece = verdict_words(found), self.query_one(CurvePiece)
        self.query_one(Fitted).show(lambda _width: said)
        piece.display = bool(view.steps)
        piece.show_since(view, found.since_step)


def _nothing(_width: int) -> Content:
    return Content("")


def verdict_words(found: Verdict) -> Content:
    """A verdict in lines."""
    sign, _word, colour = state_words("completed", found.verdict)
    head = Content.assemble(
        (f"{sign} {headline(found)}", f"bold {colour}"), ("  " + confidence_words(found.confidence), "$dim")
    )
    meaning = means_of(found.verdict)
    lines = [head, *([Content(meaning)] if meaning else [])]
    lines += [_point(said) for said in evidence_of(found)]
    advice = advice_of(found)
    if advice:
        said = _("What to do:")
        if ways_of(found):
            said = _("What to change; {key} makes a new config of it:", key=mark("F4"))
        lines.append(marked(said, "$dim"))
        lines += [advice_content(number, item) for number, item in enumerate(advice, 1)]
    return Content("\n").join(lines)


def _point(said: str) -> Content:
    return Content.assemble(("· ", "$dim"), said)


def advice_content(number: int, item: Advice) -> Content:
    """A piece of advice with the values that it sets."""
    values = values_words(item)
    return Content.assemble((f"{number} ", "bold"), item.words, (f"  {values}" if values else "", "$accent"))


def values_words(item: Advice) -> str:
    """The values of a piece of advice, as a config has them."""
    return ", ".join(
        f"{one_line(path, 60)} = {one_line(written(value), 60)}" for path, value in item.values.items()
    )
