"""Show answers inside their text, before, during and after training, and on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import pick_held_out_records
from tui_tuner.data.examples.pair_windows import PairCutter
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.records import Question, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.evaluation.answer_spans import FoundAnswers
from tui_tuner.evaluation.samples import (
    DURING,
    Progress,
    SampleReport,
    SampleSource,
    ShownSample,
    Span,
    Stage,
)
from tui_tuner.locales import _
from tui_tuner.tasks.answering.answer_reading import find_model_answers
from tui_tuner.tasks.answering.threshold import find_answer_threshold

PASSAGE = 600  # characters of a text that are shown around the answer
SCORES = 5  # answers with probabilities


class AnswerSamples(SampleSource):
    """Shows a few held-out questions, always the same ones, with the model's answers.

    Args:
        held_out: Rows that are never trained on, or None.
    """

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config = config
        data = config.data
        self.windows = PairCutter(tokenizer, data.max_length, data.stride)
        self.records = pick_held_out_records(held_out, config.evaluation.samples, data.seed)

    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        records = self.records[:DURING] if stage == "during" else self.records
        if not records:
            return None
        found = find_model_answers(
            model,
            self.windows,
            [one["question"] for one in records],
            [one["context"] for one in records],
            progress,
        )
        threshold = find_answer_threshold(self.config, model)
        shown = [
            show_answer(one["question"], one["context"], answer, threshold, one["answers"])
            for one, answer in zip(records, found, strict=True)
            if isinstance(answer, FoundAnswers)
        ]
        return SampleReport(shown)


def show_answer(
    question: str,
    context: str,
    found: FoundAnswers,
    threshold: float | None,
    wanted: Sequence[Any] | None = None,
    most: int = PASSAGE,
) -> ShownSample:
    """Show an answer inside a part of its text.

    Args:
        threshold: How much higher no answer must score; None if every question has an answer.
        wanted: The correct answers as (text, start); None if unknown.
        most: Most characters of the text to show.
    """
    ranked = found.rank_answers(context, threshold, SCORES)
    best, share = ranked[0]
    answers = [] if best is None else [Span(best.start, best.end, score=share)]
    # Several annotators often mark the same answer; dict.fromkeys keeps one.
    right = [Span(start, start + len(text)) for text, start in dict.fromkeys(map(tuple, wanted or ()))]
    begin, end = _choose_part(context, answers or right, most)
    return ShownSample(
        prompt=question,
        text=_("no answer") if best is None else context[best.start : best.end],
        reference="" if wanted is None else wanted[0][0] if wanted else _("no answer"),
        passage=context[begin:end],
        found=_shift_spans(answers, begin, end),
        wanted=_shift_spans(right, begin, end),
        scores=[("" if one is None else context[one.start : one.end], part) for one, part in ranked],
    )


def _choose_part(context: str, spans: Sequence[Span], most: int) -> tuple[int, int]:
    """Return the bounds of about `most` characters around the first span, cut between words."""
    if len(context) <= most:
        return 0, len(context)
    middle = (spans[0].start + spans[0].end) // 2 if spans else 0
    begin = min(max(0, middle - most // 2), len(context) - most)
    end = begin + most
    # Cutting at a blank must never remove a part of the answer itself.
    first, last = (spans[0].start, spans[0].end) if spans else (begin + 1, end)
    if begin and (space := context.find(" ", begin, min(first, begin + most // 4))) >= 0:
        begin = space + 1
    if end < len(context) and (space := context.rfind(" ", max(last, end - most // 4), end)) >= 0:
        end = space
    return begin, max(end, last)


def _shift_spans(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """Return the spans inside the shown part, in its own characters."""
    return [
        Span(one.start - begin, one.end - begin, one.label, one.score)
        for one in spans
        if begin <= one.start and one.end <= end
    ]


def answer_question(config: RunConfig, model: Any, tokenizer: Any, text: str, question: str) -> ShownSample:
    """Answer a question about a text of any length.

    Raises:
        RowProblem: the question is too long.
    """
    data = config.data
    windows = PairCutter(tokenizer, data.max_length, data.stride)
    found = find_model_answers(model, windows, [question], [text])[0]
    if isinstance(found, RowProblem):
        raise found
    return show_answer(question, text, found, find_answer_threshold(config, model), most=len(text))


def predict_answers(
    config: RunConfig, model: Any, tokenizer: Any, rows: Sequence[Record], batch_size: int
) -> list[dict[str, Any] | RowProblem]:
    """Return the best answer of each question with its position in the text and its probability."""
    data = config.data
    asked = [row for row in rows if isinstance(row, Question)]
    read = find_model_answers(
        model,
        PairCutter(tokenizer, data.max_length, data.stride),
        [row.question for row in asked],
        [row.context for row in asked],
        batch_size=batch_size,
    )
    threshold = find_answer_threshold(config, model)
    found: list[dict[str, Any] | RowProblem] = []
    for row, answer in zip(asked, read, strict=True):
        if isinstance(answer, RowProblem):
            found.append(answer)
            continue
        best, share = answer.rank_answers(row.context, threshold, SCORES)[0]
        text = None if best is None else row.context[best.start : best.end]
        # The probability is that of the answer given, even if it is "no answer".
        found.append({"answer": text, "start": None if best is None else best.start, "score": share})
    return found
