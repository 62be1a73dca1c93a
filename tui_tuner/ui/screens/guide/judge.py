"""Question 5: how will you judge? By held-out rows, by a figure of them, or by prompts of one's own."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.content import Content

from tui_tuner.config.kinds import TASKS
from tui_tuner.config.metrics import METRICS
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.dialogs import AskPath
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.words import block

HELD_OUT, PROMPTS = "held-out", "prompts"


class JudgeQuestion(Question):
    """The first answer is always right: the others are measured beside it."""

    PLACE: ClassVar[int] = 5
    HELP_TEXT = _(
        "A model that knows its training rows by heart looks excellent on them, and that says nothing. So a "
        "few rows are kept out of training, and measured before the first step and after each stretch: only "
        "if it got better there, by more than chance, has it learnt.\n"
        "A figure chosen here decides which checkpoint is kept as the best one. Prompts of your own are "
        "answered before and after, side by side."
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

    def _choices(self) -> list[tuple[str, str, str]]:
        from tui_tuner.guiding.asked import known_judges
        from tui_tuner.tasks import find_task

        task = self.walk.task
        own = {metric.name: metric for metric in find_task(task).metrics}
        best = TASKS[task].best
        words = _("before and after, with how sure that is")
        found = [(HELD_OUT, _("Held-out rows"), words)]
        if TASKS[task].writes:
            words = _("your own questions, answered before and after")
            found.append((PROMPTS, _("Prompts of your own …"), words))
        names = [name for name in known_judges(task) if name not in (HELD_OUT, "loss")]
        for name in sorted(names, key=lambda name: name != best):
            metric = own.get(name) or METRICS.get(name)
            if metric is not None:
                found.append((name, _(metric.label), _(metric.help) if metric.help else ""))
        return found

    def draw_answers(self) -> None:
        lines = [(id, self.line(words, means, 30)) for id, words, means in self._choices()]
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
        if chosen == PROMPTS:
            words = _(
                "Write a question as you will ask it. The model answers it before and after training, beside "
                "the held-out rows, and you see both answers."
            )
            asked = self.walk.answers.judge
            lines = [block(words)]
            if isinstance(asked, list):
                lines += [block("· " + one_line(prompt, 200)) for prompt in asked]
            return Content("\n").join(lines)
        metric = next((words for id, _label, words in self._choices() if id == chosen), "")
        words = _("Measured on the held-out rows; it decides which checkpoint is kept as the best one.")
        return Content("\n").join([block(metric), block(words).stylize("$dim")])

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
        asked = self.walk.answers.judge
        now = " | ".join(asked) if isinstance(asked, list) else ""

        def answered(text: str | None) -> None:
            prompts = [part.strip() for part in (text or "").split("|") if part.strip()]
            if prompts:
                self._take(prompts)

        question = _("Your question; several with | between them")
        self.app.push_screen(AskPath(_("Prompts"), question, now), answered)
