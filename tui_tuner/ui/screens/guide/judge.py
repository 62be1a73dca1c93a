"""Question 5: how will you judge? By held-out rows, by a figure of them, or by prompts of one's own."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.content import Content

from tui_tuner.guiding.judging import HELD_OUT, PROMPTS, JudgeChoice, judge_choices
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.dialogs import AskPath
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.words import block


class JudgeQuestion(Question):
    """The first answer is always right: the others are measured beside it."""

    PLACE: ClassVar[int] = 5
    HELP_TEXT = _(
        "A model that knows its training rows by heart looks excellent on them, and that says nothing. So a "
        "few rows are kept out of training, and measured before the first step and after each stretch: only "
        "if it got better there, by more than chance, has it learnt.\n"
        "A figure of the held-out rows that is chosen here decides which checkpoint is kept as the best one. "
        "Others score answers before and after, and prompts of your own are answered then, side by side."
    )

    def asked(self) -> str:
        return _("How will you judge whether it is better?")

    def meaning(self) -> str:
        return _(
            "Some of your rows are held out: the model never trains on them. Measured before and after, they "
            "tell whether it has learnt or only memorised."
        )

    def listed(self) -> str:
        return _("Judged by")

    def on_mount(self) -> None:
        self.draw_answers()

    @property
    def _prompts(self) -> list[str]:
        """Prompts of one's own, so far."""
        asked = self.walk.answers.judge
        return asked if isinstance(asked, list) else []

    def _choices(self) -> tuple[JudgeChoice, ...]:
        return judge_choices(self.walk.task, self.walk.data_facts(), prompts=self._prompts)

    def draw_answers(self) -> None:
        lines = []
        for choice in self._choices():
            words = choice.words + (" …" if choice.answer == PROMPTS else "")
            lines.append((choice.answer, self.line(words, choice.means, 30)))
        judge = self.walk.answers.judge
        at = ""
        if not self.answers.options and judge:
            at = PROMPTS if isinstance(judge, list) else str(judge)
        self.show_answers(lines, at)

    def about(self, chosen: str) -> Content:
        if chosen == HELD_OUT:
            words = _(
                "The usual answer. The share that is held out follows from the number of your rows: enough "
                "to tell better from chance, and as few as that takes. At the end one verdict says whether "
                "it learnt, on what evidence, and what to change."
            )
            return block(words)
        choice = next((one for one in self._choices() if one.answer == chosen), None)
        if choice is None:
            return Content("")
        lines = [block(choice.means)]
        if choice.costs:
            lines.append(block(choice.costs).stylize("$dim"))
        if chosen == PROMPTS:
            lines += [block("· " + one_line(prompt, 200)) for prompt in self._prompts]
        return Content("\n").join(lines)

    def choose(self, chosen: str) -> None:
        if chosen == PROMPTS:
            self._ask_prompts()
            return
        self._take(chosen)

    def _take(self, judge: Any) -> None:
        from tui_tuner.ui.screens.guide.page import GuidePage

        self.walk.answer(judge=judge)
        self.keep()
        self.app.push_screen(GuidePage(self.walk))

    def _ask_prompts(self) -> None:
        def answered(text: str | None) -> None:
            prompts = [part.strip() for part in (text or "").split("|") if part.strip()]
            if prompts:
                self._take(prompts)

        question = _("Your question; several with | between them")
        self.app.push_screen(AskPath(_("Prompts"), question, " | ".join(self._prompts)), answered)
