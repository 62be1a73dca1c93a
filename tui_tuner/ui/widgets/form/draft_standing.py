"""The state of a draft: its problems, whether it can be started, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui_tuner.locales import _, _n
from tui_tuner.ui import form_values
from tui_tuner.ui.screen_words import make_safe_line

if TYPE_CHECKING:
    from tui_tuner.ui.start_checking import Refusal
    from tui_tuner.ui.widgets.form.start_check import StartChecked


class DraftStanding:
    """What is known about a draft; not a widget.

    Args:
        told: Why a run with these values failed; shown at its field until a value changes.
    """

    def __init__(self, told: Refusal | None = None) -> None:
        self.told = told
        self.untyped: dict[str, str] = {}  # fields whose text is not a value, with a sentence each
        self.problems: dict[str, str] = {}
        self.refusal: Refusal | None = None  # from the check before a start
        self.better: Refusal | None = None  # another task fits the data better
        self.passed = False
        self.fetches = False  # a start would download the model first

    @property
    def start_refusal(self) -> Refusal | None:
        """Return why a run cannot be started, or why the last one failed."""
        return self.told or self.refusal

    @property
    def data_remark(self) -> Refusal | None:
        """The refusal, or the suggestion of another task."""
        return self.start_refusal or self.better

    def begin_check(self, values: Mapping[str, Any]) -> bool:
        """Forget the last check because values changed. Returns whether to check again."""
        self.refusal, self.passed, self.better = None, False, None
        return self.check_values(values)

    def take_answer(self, values: Mapping[str, Any], answer: StartChecked) -> None:
        """Take over the result of a check."""
        # A new start replaces the message of the run that failed before.
        self.told = None if answer.start else self.told
        self.refusal, self.passed, self.better = answer.refusal, answer.refusal is None, answer.better
        self.fetches = answer.fetches
        self.check_values(values)

    def refuse_start(self, refusal: Refusal) -> None:
        """Note that the start itself failed."""
        self.refusal, self.passed = refusal, False

    def check_values(self, values: Mapping[str, Any]) -> bool:
        """Find the problems of the values themselves, or else show the refusal as the problem.

        Returns:
            Whether the values themselves are valid.
        """
        self.problems = form_values.find_draft_problems(values, self.untyped)
        sound = not self.problems
        # Problems of the values come first: the check that refused saw older ones.
        if self.start_refusal is not None and not self.problems:
            self.problems = {
                self.start_refusal.field: self.start_refusal.sentence
            }  # without a field it is shown in the title and the help
        return sound

    def note_typed(self, path: str, sentence: str) -> None:
        """Note that a field's text is a value, or not a value because of `sentence`."""
        self.untyped.pop(path, None)
        if sentence:
            self.untyped[path] = sentence

    def of_section(self, section: str) -> list[str]:
        """Return the problems of a section, and those without a field."""
        problems = self.problems.items()
        return [text for path, text in problems if not path or form_values.find_form_section(path) == section]

    def describe_standing(self, starting: bool) -> Content:
        """Describe the state in a few words.

        Args:
            starting: A start waits for the running check.
        """
        count, refusal = len(self.problems), self.start_refusal
        if count and (refusal is None or self.problems.get(refusal.field) != refusal.sentence):
            return Content(_n("✗ {n} problem", "✗ {n} problems", count, n=count)).stylize("$error")
        if count:
            return Content.assemble("✗ ", make_safe_line(refusal.sentence if refusal else "")).stylize(
                "$error"
            )
        if starting:
            return Content(_("checking, then starting…")).stylize("$primary")
        if not self.passed:
            return Content(_("checking…")).stylize("$dim")
        if self.fetches:
            return Content(_("^r downloads the model, then starts")).stylize("$primary")
        return Content(_("✓ ready, press ^r to start")).stylize("$success")
