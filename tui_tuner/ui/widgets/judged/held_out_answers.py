"""Held-out prompts, one at a time: the prompt, two answers side by side, and the data's answer.

Words that only one of the answers has are underlined, so that colours are not needed.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.inside_text import is_output_inside_text, read_shown_sample
from tui_tuner.evaluation.word_differences import AnswerWords, find_differing, split_answer_words
from tui_tuner.locales import _, _n
from tui_tuner.runs.events import Sample
from tui_tuner.ui.widgets.judged.fitted_text import Draw, Fitted
from tui_tuner.ui.widgets.judged.pair import draw_judged_pair, is_prompt_shown_below
from tui_tuner.ui.widgets.judged.spans import make_span_legend
from tui_tuner.ui.widgets.judged.stages import (
    REFERENCE,
    AnswerSides,
    add_reference_answer,
    group_samples_by_prompt,
    make_sample_key,
    name_answer_stage,
)

_NARROW = 56  # widths in cells that are too narrow for two columns
_PROMPT = 240  # characters of a folded prompt


class Answers(Vertical):
    """One prompt of several. The screen maps keys to `turn_prompt`, `turn_side` and `open_whole`."""

    DEFAULT_CSS = """
    Answers { height: auto; }
    Answers Static { height: auto; }
    Answers > Horizontal { height: auto; }
    Answers.-stacked > Horizontal { layout: vertical; }
    Answers .answer { width: 1fr; padding: 0 1 0 0; }
    Answers .right { border-left: solid $line; padding: 0 0 0 1; display: none; }
    Answers.-two .right { display: block; }
    Answers.-stacked .right { border-left: none; padding: 0; }
    Answers.-none > Horizontal, Answers.-none #reference, Answers.-none #signs { display: none; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[tuple[Sample, ...], bool] | None = (
            None  # the answers, and whether their run has ended
        )
        self._prompts: list[tuple[int, list[Sample]]] = []
        self._at = 0
        self._sides = AnswerSides()
        self._before: AnswerSides | None = None  # the sides before the data's answer was shown
        self._whole = False
        self._drawn: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(_make_no_answers_yet(), id="prompt")
        with Horizontal():
            yield Fitted(_make_empty, classes="answer left")
            yield Fitted(_make_empty, classes="answer right")
        yield Static(id="reference")
        yield Static(id="signs")

    def on_resize(self) -> None:
        self.set_class(self.size.width < _NARROW, "-stacked")

    def show_answers(self, samples: tuple[Sample, ...], ended: bool = False) -> None:
        """Set the answers of a run; redrawn only if the visible ones have changed."""
        # The view keeps the same tuple until a sample is added, so identity is enough.
        if self._shown is not None and samples is self._shown[0] and ended == self._shown[1]:
            return
        self._shown = samples, ended
        self.set_class(not samples, "-none")
        if not samples:
            self.query_one("#prompt", Static).update(_make_no_answers() if ended else _make_no_answers_yet())
        self._prompts = list(group_samples_by_prompt(samples).items())
        self._at = min(self._at, max(0, len(self._prompts) - 1))
        self._draw_prompt()

    @property
    def prompt_count(self) -> int:
        """The number of prompts."""
        return len(self._prompts)

    def turn_prompt(self, by: int) -> None:
        """Move by `by` prompts, wrapping around."""
        if self._prompts:
            self._at = (self._at + by) % len(self._prompts)
            self._whole = False
            self._draw_prompt()

    def turn_side(self, side: str) -> None:
        """Show another stage at the `left` or the `right`."""
        if self._prompts:
            self._sides.turn_side(side, add_reference_answer(self._prompts[self._at][1]))
            self._draw_prompt()

    def show_reference(self) -> None:
        """Show the data's answer next to the newest one; called again, restore what was there before."""
        if self._before is not None:
            self._sides, self._before = self._before, None
        elif self._prompts and self._prompts[self._at][1][0].reference.strip():
            stages = self._prompts[self._at][1]
            self._before = self._sides
            self._sides = AnswerSides(make_sample_key(stages[-1]), (REFERENCE, stages[0].step))
        self._draw_prompt()

    def open_whole(self) -> None:
        """Show long and repeated answers in full; called again, only their start."""
        self._whole = not self._whole
        self._draw_prompt()

    def _draw_prompt(self) -> None:
        if not self._prompts:
            return
        stages = self._prompts[self._at][1]
        left, right = self._sides.choose_samples(add_reference_answer(stages))
        # A view comes several times a second, and nearly always with the same answers.
        drawn = (self._at, len(self._prompts), len(stages), left, right, self._whole)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self.set_class(right is not None, "-two")
        self.query_one("#prompt", Static).update(self._format_prompt(left))
        # With two answers both are shown already, so there is nothing to change to.
        several = len(add_reference_answer(stages)) > 2 or (right is None and len(stages) > 1)
        keys = (",", ".") if several else ("", "")
        self._draw_sides((left, right), keys)
        shown = [read_shown_sample(sample) for sample in (left, right) if sample is not None]
        self.query_one("#reference", Static).update(self._format_reference(left, right))
        self.query_one("#signs", Static).update(
            make_span_legend([one for one in shown if is_output_inside_text(one)])
        )

    def _draw_sides(self, sides: tuple[Sample, Sample | None], keys: tuple[str, str]) -> None:
        """Draw two answers with their differences underlined, or what was found in a text."""
        told = [None if sample is None else self._find_telling(sample) for sample in sides]
        apart: tuple[set[int], set[int]] = (set(), set())
        if told[0] is not None and told[1] is not None:
            apart = find_differing(told[0].words, told[1].words)
        places = ("left", "right")
        for side, sample, telling, words, key in zip(places, sides, told, apart, keys, strict=True):
            box = self.query_one(f".{side}", Fitted)
            if sample is None:
                box.show_drawn(_make_empty)
            elif telling is None:
                self._show_judged(box, sample, key)
            else:
                box.show_drawn(_ignore_width(draw_held_out_answer(sample, telling, words, key)))

    def _find_telling(self, sample: Sample) -> AnswerWords | None:
        """Return a generated answer; None for spans found in a text and for choices."""
        return (
            None
            if is_output_inside_text(read_shown_sample(sample))
            else split_answer_words(sample.text, self._whole)
        )

    def _show_judged(self, box: Fitted, sample: Sample, key: str) -> None:
        told, whole = read_shown_sample(sample), self._whole
        box.show_drawn(lambda width: draw_judged_pair(make_answer_heading(sample, key), told, width, whole))

    def _format_prompt(self, sample: Sample) -> Content:
        """Return number and text of the prompt, without the text if it is shown below."""
        number = _("{number:,} of {count:,}", number=self._at + 1, count=len(self._prompts))
        arrows = (" ←→", "$accent") if len(self._prompts) > 1 else ""
        start = Content.assemble((number, "bold"), arrows, "  ")
        if is_prompt_shown_below(read_shown_sample(sample), sample.prompt):
            return start
        telling = split_answer_words(sample.prompt, self._whole, _PROMPT)
        return Content.assemble(start, _style_words(telling, set(), ""), _format_rest(telling))

    def _format_reference(self, left: Sample, right: Sample | None) -> Content:
        if not left.reference.strip() or REFERENCE in (left.stage, right.stage if right else ""):
            return Content("")
        telling = split_answer_words(left.reference, self._whole)
        words = [(_("reference"), "$primary"), ("  f  ", "$accent")]
        if is_output_inside_text(read_shown_sample(left)):
            words = [(_("reference") + "  ", "$dim")]
        return Content.assemble(*words, _style_words(telling, set(), "$dim"), _format_rest(telling))


def make_answer_heading(sample: Sample, key: str) -> Content:
    """Return the stage of an answer and the key that shows another one."""
    return Content.assemble((name_answer_stage(sample), "$primary"), (f"  {key}" if key else "", "$accent"))


def draw_held_out_answer(sample: Sample, telling: AnswerWords, apart: set[int], key: str = "") -> Content:
    """Return stage and text of an answer, with a note if it is empty or was cut off."""
    colour = "$success" if sample.stage != "before" else "$warning"
    said = _style_words(telling, apart, "", f"underline {colour}")
    parts = [
        make_answer_heading(sample, key),
        Content("\n"),
        said if telling.words else Content(_("(nothing)")).stylize("$dim"),
    ]
    if telling.folded or telling.left:
        parts.append(_format_rest(telling))
    if not sample.stopped:
        parts.append(Content(" … " + _("cut off, no stop token")).stylize("$warning"))
    return Content.assemble(*parts)


def _style_words(telling: AnswerWords, apart: set[int], style: str, apart_style: str = "") -> Content:
    """Join words into runs of one style; spaces between two marked words are marked as well."""
    parts: list[tuple[str, str]] = []
    for place, word in enumerate(telling.words):
        bare = word.text.rstrip()
        if word.own:
            parts.append((word.text, "bold $warning" if bare else ""))
        elif place in apart:
            parts += [
                (bare, apart_style),
                (word.text[len(bare) :], apart_style if place + 1 in apart else ""),
            ]
        else:
            parts.append((word.text, style))
    joined: list[tuple[str, str]] = []
    for text, own in parts:
        if joined and joined[-1][1] == own:
            joined[-1] = (joined[-1][0] + text, own)
        elif text:
            joined.append((text, own))
    return Content.assemble(*joined)


def _format_rest(telling: AnswerWords) -> Content:
    """Return how much of an answer is hidden, and the key that shows it."""
    if telling.left:
        more = _n(
            "… {count:,} more character", "… {count:,} more characters", telling.left, count=telling.left
        )
        return Content.assemble((" " + more, "$warning"), ("  w", "$accent"))
    return Content.assemble(("  w", "$accent")) if telling.folded else Content("")


def _make_no_answers() -> Content:
    return Content(_("This run answered no prompts.")).stylize("$dim")


def _make_no_answers_yet() -> Content:
    return Content(
        _("No answers yet. Held-out prompts are answered before, during and after training.")
    ).stylize("$dim")


def _make_empty(_width: int) -> Content:
    return Content("")


def _ignore_width(content: Content) -> Draw:
    """Draw the same content at every width."""
    return lambda _width: content
