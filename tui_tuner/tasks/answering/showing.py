"""Answers shown inside their text, before, during and after training, and to whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import some_records
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.examples.windows import PairWindows
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Question, Record
from tui_tuner.evaluation.answer_spans import Found
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, Samples, Shown, Span, Stage
from tui_tuner.locales import _
from tui_tuner.tasks.answering.reading import read_answers
from tui_tuner.tasks.answering.threshold import known_threshold

PASSAGE = 600  # characters of a text that are shown around the answer
SCORES = 5  # answers with probabilities


class ShownAnswers(Samples):
    """A few held-out questions, always the same ones, with what the model answers.

    Args:
        held_out: Rows that are never trained; None for none.
    """

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config = config
        data = config.data
        self.windows = PairWindows(tokenizer, data.max_length, data.stride)
        self.records = some_records(held_out, config.evaluation.samples, data.seed)

    def collect(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        records = self.records[:DURING] if stage == "during" else self.records
        if not records:
            return None
        found = read_answers(
            model,
            self.windows,
            [one["question"] for one in records],
            [one["context"] for one in records],
            progress,
        )
        threshold = known_threshold(self.config, model)
        shown = [
            show_answer(one["question"], one["context"], answer, threshold, one["answers"])
            for one, answer in zip(records, found, strict=True)
            if isinstance(answer, Found)
        ]
        return SampleReport(shown)


def show_answer(
    question: str,
    context: str,
    found: Found,
    threshold: float | None,
    wanted: Sequence[Any] | None = None,
    most: int = PASSAGE,
) -> Shown:
    """An answer inside the part of its text that is shown.

    Args:
        threshold: By how much no answer must score higher; None where each question has one.
        wanted: The right answers as (text, start); None where nobody knows them.
        most: Characters of the text that are shown.
    """
    ranked = found.ranked(context, threshold, SCORES)
    best, share = ranked[0]
    answers = [] if best is None else [Span(best.start, best.end, score=share)]
    right = [Span(start, start + len(text)) for text, start in dict.fromkeys(map(tuple, wanted or ()))]
    begin, end = _shown_part(context, answers or right, most)
    return Shown(
        prompt=question,
        text=_("no answer") if best is None else context[best.start : best.end],
        reference="" if wanted is None else wanted[0][0] if wanted else _("no answer"),
        passage=context[begin:end],
        found=_moved(answers, begin, end),
        wanted=_moved(right, begin, end),
        scores=[("" if one is None else context[one.start : one.end], part) for one, part in ranked],
    )


def _shown_part(context: str, spans: Sequence[Span], most: int) -> tuple[int, int]:
    """About `most` characters with the first span in the middle, cut between words."""
    if len(context) <= most:
        return 0, len(context)
    middle = (spans[0].start + spans[0].end) // 2 if spans else 0
    begin = min(max(0, middle - most // 2), len(context) - most)
    end = begin + most
    first, last = (spans[0].start, spans[0].end) if spans else (begin + 1, end)
    if begin and (space := context.find(" ", begin, min(first, begin + most // 4))) >= 0:
        begin = space + 1
    if end < len(context) and (space := context.rfind(" ", max(last, end - most // 4), end)) >= 0:
        end = space
    return begin, max(end, last)


def _moved(spans: Sequence[Span], begin: int, end: int) -> list[Span]:
    """Those that lie in the part that is shown, in its own characters."""
    return [
        Span(one.start - begin, one.end - begin, one.label, one.score)
        for one in spans
        if begin <= one.start and one.end <= end
    ]


def answer_question(config: RunConfig, model: Any, tokenizer: Any, text: str, question: str) -> Shown:
    """What a model answers to a question about a text of any length.

    Raises:
        RowProblem: the question is too long to be asked.
    """
    data = config.data
    windows = PairWindows(tokenizer, data.max_length, data.stride)
    found = read_answers(model, windows, [question], [text])[0]
    if isinstance(found, RowProblem):
        raise found
    return show_answer(question, text, found, known_threshold(config, model), most=len(text))


def predict_answers(
    config: RunConfig, model: Any, tokenizer: Any, rows: Sequence[Record], batch_size: int
) -> list[dict[str, Any] | RowProblem]:
    """The best answer of each question with its place in the text and its probability."""
    data = config.data
    asked = [row for row in rows if isinstance(row, Question)]
    read = read_answers(
        model,
        PairWindows(tokenizer, data.max_length, data.stride),
        [row.question for row in asked],
        [row.context for row in asked],
        batch_size=batch_size,
    )
    threshold = known_threshold(config, model)
    found: list[dict[str, Any] | RowProblem] = []
    for row, answer in zip(asked, read, strict=True):
        if isinstance(answer, RowProblem):
            found.append(answer)
            continue
        best, share = answer.ranked(row.context, threshold, SCORES)[0]
        text = None if best is None else row.context[best.start : best.end]
        found.append({"answer": text, "start": None if best is None else best.start, "score": share})
    return found
