"""Held-out prompts one at a time: the prompt, two answers beside each other, and what the data says.

Words that one answer has and the other has not are underlined, so that nobody needs colours.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.differing import Telling, differing, tell
from tui_tuner.evaluation.inside import is_inside, read_shown
from tui_tuner.locales import _, _n
from tui_tuner.runs.events import Sample
from tui_tuner.ui.widgets.judged.fitted import Draw, Fitted
from tui_tuner.ui.widgets.judged.pair import judged_content, text_stands_below
from tui_tuner.ui.widgets.judged.spans import legend
from tui_tuner.ui.widgets.judged.stages import REFERENCE, Sides, by_prompt, key_of, stage_name, with_reference

_NARROW = 56  # cells in which two columns have no room
_PROMPT = 240  # characters of a prompt that was not opened


class Answers(Vertical):
    """One prompt of several. Keys come from where it is shown: `turn`, `turn_side`, `open_whole`."""

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
        self._shown: tuple[tuple[Sample, ...], bool] | None = None  # the answers, whether their run has ended
        self._prompts: list[tuple[int, list[Sample]]] = []
        self._at = 0
        self._sides = Sides()
        self._before: Sides | None = None  # the sides that were left for the data's answer
        self._whole = False
        self._drawn: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(_nothing(), id="prompt")
        with Horizontal():
            yield Fitted(_empty, classes="answer left")
            yield Fitted(_empty, classes="answer right")
        yield Static(id="reference")
        yield Static(id="signs")

    def on_resize(self) -> None:
        self.set_class(self.size.width < _NARROW, "-stacked")

    def show(self, samples: tuple[Sample, ...], ended: bool = False) -> None:
        """Take the answers of a run; drawn if what is shown of them has changed."""
        if self._shown is not None and samples is self._shown[0] and ended == self._shown[1]:
            return
        self._shown = samples, ended
        self.set_class(not samples, "-none")
        if not samples:
            self.query_one("#prompt", Static).update(_none() if ended else _nothing())
        self._prompts = list(by_prompt(samples).items())
        self._at = min(self._at, max(0, len(self._prompts) - 1))
        self._draw()

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return len(self._prompts)

    def turn(self, by: int) -> None:
        """Another prompt: so many further, around the end."""
        if self._prompts:
            self._at = (self._at + by) % len(self._prompts)
            self._whole = False
            self._draw()

    def turn_side(self, side: str) -> None:
        """Another stage at the `left` or the `right`."""
        if self._prompts:
            self._sides.turn(side, with_reference(self._prompts[self._at][1]))
            self._draw()

    def show_reference(self) -> None:
        """What the data says at the right, beside the newest answer; again, what stood there before."""
        if self._before is not None:
            self._sides, self._before = self._before, None
        elif self._prompts and self._prompts[self._at][1][0].reference.strip():
            stages = self._prompts[self._at][1]
            self._before = self._sides
            self._sides = Sides(key_of(stages[-1]), (REFERENCE, stages[0].step))
        self._draw()

    def open_whole(self) -> None:
        """All of long and repeated answers; again, only their beginning."""
        self._whole = not self._whole
        self._draw()

    def _draw(self) -> None:
        if not self._prompts:
            return
        stages = self._prompts[self._at][1]
        left, right = self._sides.of(with_reference(stages))
        drawn = (self._at, len(self._prompts), len(stages), left, right, self._whole)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self.set_class(right is not None, "-two")
        self.query_one("#prompt", Static).update(self._prompt(left))
        several = len(with_reference(stages)) > 2 or (right is None and len(stages) > 1)
        keys = (",", ".") if several else ("", "")
        self._draw_sides((left, right), keys)
        shown = [read_shown(sample) for sample in (left, right) if sample is not None]
        self.query_one("#reference", Static).update(self._reference(left, right))
        self.query_one("#signs", Static).update(legend([one for one in shown if is_inside(one)]))

    def _draw_sides(self, sides: tuple[Sample, Sample | None], keys: tuple[str, str]) -> None:
        """Two answers, with the words underlined that only one of them has; or what was found in a text."""
        told = [None if sample is None else self._telling(sample) for sample in sides]
        apart: tuple[set[int], set[int]] = (set(), set())
        if told[0] is not None and told[1] is not None:
            apart = differing(told[0].words, told[1].words)
        places = ("left", "right")
        for side, sample, telling, words, key in zip(places, sides, told, apart, keys, strict=True):
            box = self.query_one(f".{side}", Fitted)
            if sample is None:
                box.show(_empty)
            elif telling is None:
                self._show_judged(box, sample, key)
            else:
                box.show(_always(answer_content(sample, telling, words, key)))

    def _telling(self, sample: Sample) -> Telling | None:
        """An answer that was written; None for what was found in a text, or chosen."""
        return None if is_inside(read_shown(sample)) else tell(sample.text, self._whole)

    def _show_judged(self, box: Fitted, sample: Sample, key: str) -> None:
        told, whole = read_shown(sample), self._whole
        box.show(lambda width: judged_content(head(sample, key), told, width, whole))

    def _prompt(self, sample: Sample) -> Content:
        """Which prompt of how many; and what was asked, unless that stands below."""
        number = _("{number:,} of {count:,}", number=self._at + 1, count=len(self._prompts))
        arrows = (" ←→", "$accent") if len(self._prompts) > 1 else ""
        start = Content.assemble((number, "bold"), arrows, "  ")
        if text_stands_below(read_shown(sample), sample.prompt):
            return start
        telling = tell(sample.prompt, self._whole, _PROMPT)
        return Content.assemble(start, _words(telling, set(), ""), _left(telling))

    def _reference(self, left: Sample, right: Sample | None) -> Content:
        if not left.reference.strip() or REFERENCE in (left.stage, right.stage if right else ""):
            return Content("")
        telling = tell(left.reference, self._whole)
        words = [(_("reference"), "$primary"), ("  f  ", "$accent")]
        if is_inside(read_shown(left)):
            words = [(_("reference") + "  ", "$dim")]
        return Content.assemble(*words, _words(telling, set(), "$dim"), _left(telling))


def head(sample: Sample, key: str) -> Content:
    """The stage of an answer, and the key that shows another one."""
    return Content.assemble((stage_name(sample), "$primary"), (f"  {key}" if key else "", "$accent"))


def answer_content(sample: Sample, telling: Telling, apart: set[int], key: str = "") -> Content:
    """Stage and text of an answer; says so where it is empty or did not stop by itself."""
    colour = "$success" if sample.stage != "before" else "$warning"
    said = _words(telling, apart, "", f"underline {colour}")
    parts = [
        head(sample, key),
        Content("\n"),
        said if telling.words else Content(_("(nothing)")).stylize("$dim"),
    ]
    if telling.folded or telling.left:
        parts.append(_left(telling))
    if not sample.stopped:
        parts.append(Content(" … " + _("cut off, no stop token")).stylize("$warning"))
    return Content.assemble(*parts)


def _words(telling: Telling, apart: set[int], style: str, apart_style: str = "") -> Content:
    """Words in runs of one style: the blanks between two that are marked are marked as well."""
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


def _left(telling: Telling) -> Content:
    """How much of an answer is not shown, and the key that shows it."""
    if telling.left:
        more = _n(
            "… {count:,} more character", "… {count:,} more characters", telling.left, count=telling.left
        )
        return Content.assemble((" " + more, "$warning"), ("  w", "$accent"))
    return Content.assemble(("  w", "$accent")) if telling.folded else Content("")


def _none() -> Content:
    return Content(_("This run answered no prompts.")).stylize("$dim")


def _nothing() -> Content:
    return Content(_("No answers yet. Held-out prompts are answered before, during and after.")).stylize(
        "$dim"
    )


def _empty(_width: int) -> Content:
    return Content("")


def _always(content: Content) -> Draw:
    """The same content at every width."""
    return lambda _width: content
