"""Prompts answered before, during and after training, and held-out answers scored before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tui_tuner.config.schema import EvaluationSection
from tui_tuner.evaluation.metrics import Scored, score
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, Samples, Shown, Stage
from tui_tuner.locales import _


class HeldOutPrompt(Protocol):
    """A held-out row as a prompt with its reference answer (`data.examples.held_out.HeldOut`)."""

    prompt_ids: list[int]
    prompt_text: str
    reference: str


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer: its tokens up to where the answer begins, and the data set's answer."""

    ids: list[int]
    text: str
    reference: str = ""


class GeneratedAnswers(Samples):
    """What a model that writes text shows.

    Args:
        encode: Token ids of a prompt of the user's.
        held_out: Up to so many held-out rows as prompts, always the same ones.
    """

    def __init__(
        self,
        settings: EvaluationSection,
        tokenizer: Any,
        encode: Callable[[str], list[int]],
        held_out: Callable[[int], Sequence[HeldOutPrompt]],
    ) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self._encode = encode
        self._held_out = held_out

    def prompts(self) -> list[Prompt]:
        """Prompts of the config first, then held-out rows."""
        own = [Prompt(self._encode(text), text) for text in self.settings.prompts or []]
        return own + self._rows(self.settings.samples)

    def _rows(self, count: int) -> list[Prompt]:
        rows = self._held_out(count) if count else []
        return [Prompt(list(row.prompt_ids), row.prompt_text, row.reference) for row in rows]

    def collect(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        prompts = self.prompts()
        shown = prompts[:DURING] if stage == "during" else prompts
        scored = self._rows(self.settings.metric_rows) if stage != "during" else []
        if not shown and not scored:
            return None
        answers = self._generate(model, [*shown, *scored], progress)
        notes = sorted({found.note for found in answers if found.short_of_memory})
        samples = [
            Shown(prompt.text, found.text, prompt.reference, found.stopped)
            for prompt, found in zip(shown, answers, strict=False)
        ]
        rows = [
            Scored(prompt=prompt.text, reference=prompt.reference, text=found.text, stopped=found.stopped)
            for prompt, found in zip(scored, answers[len(shown) :], strict=True)
            if not found.short_of_memory
        ]
        if scored and len(rows) < len(scored):
            notes.append(
                _(
                    "{missing} of {count} held-out answers are not scored: memory ran out",
                    missing=len(scored) - len(rows),
                    count=len(scored),
                )
            )
        if not rows:
            return SampleReport(samples, notes=notes)
        return SampleReport(samples, score(self.settings.metrics, rows), len(rows), notes)

    def _generate(self, model: Any, prompts: list[Prompt], progress: Progress) -> list[Any]:
        from tui_tuner.evaluation.generation import generate

        unique: dict[tuple[int, ...], int] = {}
        for prompt in prompts:
            unique.setdefault(tuple(prompt.ids), len(unique))
        progress(0, len(unique))
        found = generate(
            model,
            self.tokenizer,
            [list(ids) for ids in unique],
            self.settings.max_new_tokens,
            on_progress=progress,
        )
        return [found[unique[tuple(prompt.ids)]] for prompt in prompts]
