"""Answer prompts before, during and after training, and score held-out answers before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tui_tuner.config.schema import EvaluationSection
from tui_tuner.evaluation.metrics import (
    MEASURES,
    USUAL,
    ScoredAnswer,
    choose_metrics,
    score_answers,
    sign_scores,
)
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, SampleSource, ShownSample, Stage
from tui_tuner.locales import _


class HeldOutPrompt(Protocol):
    """A held-out row as a prompt with its reference answer (`data.examples.held_out.HeldOutPrompt`)."""

    prompt_ids: list[int]
    prompt_text: str
    reference: str


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer: its tokens up to the beginning of the answer, and the reference answer."""

    ids: list[int]
    text: str
    reference: str = ""


class GeneratedAnswers(SampleSource):
    """Shows the answers of a model that writes text.

    Args:
        encode: Returns the token ids of a user's prompt.
        held_out: Returns up to so many held-out rows as prompts, always the same ones.
        usual: Metrics that compare answers with references if the config names none.
    """

    def __init__(
        self,
        settings: EvaluationSection,
        tokenizer: Any,
        encode: Callable[[str], list[int]],
        held_out: Callable[[int], Sequence[HeldOutPrompt]],
        usual: Sequence[str] = USUAL,
    ) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self._encode = encode
        self._held_out = held_out
        self._usual = usual

    def list_prompts(self) -> list[Prompt]:
        """Return the prompts of the config, then held-out rows."""
        own = [Prompt(self._encode(text), text) for text in self.settings.prompts or []]
        return own + self._held_out_prompts(self.settings.samples)

    def _held_out_prompts(self, count: int) -> list[Prompt]:
        rows = self._held_out(count) if count else []
        return [Prompt(list(row.prompt_ids), row.prompt_text, row.reference) for row in rows]

    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        prompts = self.list_prompts()
        shown = prompts[:DURING] if stage == "during" else prompts
        scored = self._held_out_prompts(self.settings.metric_rows) if stage != "during" else []
        if not shown and not scored:
            return None
        answers = self._generate_answers(model, [*shown, *scored], progress)
        notes = sorted({found.note for found in answers if found.short_of_memory})
        samples = [
            ShownSample(prompt.text, found.text, prompt.reference, found.stopped)
            for prompt, found in zip(shown, answers, strict=False)
        ]
        return self._score_prompts(scored, answers[len(shown) :], samples, notes)

    def score_answers(self, model: Any, progress: Progress) -> SampleReport | None:
        scored = self._held_out_prompts(self.settings.metric_rows)
        if not scored:
            return None
        answers = self._generate_answers(model, scored, progress)
        return self._score_prompts(scored, answers, [], [])

    def _score_prompts(
        self, scored: list[Prompt], answers: list[Any], samples: list[ShownSample], notes: list[str]
    ) -> SampleReport:
        """Score the answers to prompts, without those for which memory ran out."""
        rows = [
            ScoredAnswer(
                prompt=prompt.text, reference=prompt.reference, text=found.text, stopped=found.stopped
            )
            for prompt, found in zip(scored, answers, strict=True)
            if not found.short_of_memory
        ]
        if scored and len(rows) < len(scored):
            notes.append(
                _(
                    "{missing} of {count} held-out answers were not scored because memory ran out",
                    missing=len(scored) - len(rows),
                    count=len(scored),
                )
            )
        if not rows:
            return SampleReport(samples, notes=notes)
        chosen = choose_metrics(self.settings.metrics, rows, self._usual)
        # The metric that decides which checkpoint is best is measured even if it is not among these
        best = [self.settings.best] if self.settings.best in MEASURES else []
        metrics = score_answers([*chosen, *best], rows)
        return SampleReport(samples, metrics, len(rows), notes, sign_scores(metrics, rows))

    def _generate_answers(self, model: Any, prompts: list[Prompt], progress: Progress) -> list[Any]:
        from tui_tuner.evaluation.generation import generate_answers

        # The same row is often shown and scored: it is answered once.
        unique: dict[tuple[int, ...], int] = {}
        for prompt in prompts:
            unique.setdefault(tuple(prompt.ids), len(unique))
        progress(0, len(unique))
        found = generate_answers(
            model,
            self.tokenizer,
            [list(ids) for ids in unique],
            self.settings.max_new_tokens,
            on_progress=progress,
        )
        return [found[unique[tuple(prompt.ids)]] for prompt in prompts]
