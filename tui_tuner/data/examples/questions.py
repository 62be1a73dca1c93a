"""Encode questions about a text as windows, each with the place of the answer in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.pair_windows import PairCutter, PairWindow, find_span_tokens, locate_answer_span
from tui_tuner.data.examples.record_encoder import EncodingBatch, Encodings, RecordEncoder, RowFacts
from tui_tuner.data.examples.token_types import COLUMN
from tui_tuner.data.records import IGNORE, Example, Question, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _

LONGEST_ANSWER = 30  # tokens of the longest answer that is searched for
START, END = 1, 2  # bits of a label: the answer begins here, and ends here
COLUMNS = {"start": "int32", "end": "int32", "null": "int32", "window": "int32", COLUMN: "int64"}
WITHOUT = "questions without an answer"
TORN = "answers that no window holds whole"
LONG = "answers longer than can be found"


class QuestionEncoder(RecordEncoder):
    """Each window of a question's text is an example: where the answer begins and ends, or the null position.

    Of several right answers the first one is trained.
    """

    takes = (Question,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        data = config.data
        if data.stride >= data.max_length:
            raise ConfigError(
                _(
                    "windows of {most} tokens cannot share {stride} tokens.",
                    most=data.max_length,
                    stride=data.stride,
                ),
                where="data.stride",
                hint=build_hint(
                    N_("Lower it with {lower}.", lower=write_setting({"data.stride": data.max_length // 4}))
                ),
            )
        self.windows = PairCutter(tokenizer, data.max_length, data.stride)
        self.unanswerable = False

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        records = [record for record in begun.records if isinstance(record, Question)]
        cut = self.windows.cut_pairs([one.question for one in records], [one.context for one in records])
        found: Encodings = []
        for record, windows in zip(records, cut, strict=True):
            try:
                found.append(self._fit_question(record, windows))
            except RowProblem as problem:
                found.append(problem)
        return found

    def _fit_question(self, record: Question, windows: list[PairWindow] | RowProblem) -> FittedRow:
        if isinstance(windows, RowProblem):
            raise windows
        # A model of such rows may answer "none"; others must always answer.
        self.unanswerable |= not record.answers
        tokens = find_answer_tokens(record, windows)
        overlong = self.config.data.overlong
        if len(windows) > 1 and overlong == "drop":
            raise RowProblem(N_("longer than max_length"), _("{count} windows", count=len(windows)))
        examples = [make_question_example(window, number, tokens) for number, window in enumerate(windows)]
        if len(windows) == 1:
            return FittedRow(examples)
        if overlong == "truncate":
            # Otherwise the row would teach that a question with an answer has none.
            if tokens is not None and examples[0].columns["start"] == windows[0].null:
                raise RowProblem(N_("the answer lies beyond max_length"))
            return FittedRow(examples[:1], "truncated", N_("cut at max_length"))
        return FittedRow(examples, "split", N_("a text longer than max_length, in windows"))

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        assert isinstance(record, Question)
        if not record.answers:
            facts.note_origin(WITHOUT, origin)
            return
        spans = [(one.columns["start"], one.columns["end"], one.columns["null"]) for one in fitted.examples]
        held = [end - start + 1 for start, end, null in spans if start != null]
        if not held:
            facts.note_origin(TORN, origin)
        # Trained, but prediction searches no longer spans, so evaluation counts it as wrong.
        elif held[0] > LONGEST_ANSWER:
            facts.note_origin(LONG, origin)

    def export_learned(self) -> dict[str, Any]:
        return {"unanswerable": self.unanswerable}

    def merge_learned(self, learned: dict[str, Any]) -> None:
        self.unanswerable |= bool(learned["unanswerable"])


def find_answer_tokens(record: Question, windows: list[PairWindow]) -> tuple[int, int] | None:
    """Find the tokens of the trained answer among all of the text; None if there is no answer.

    Raises:
        RowProblem: no token contains any of its characters.
    """
    if not record.answers:
        return None
    text, start = record.answers[0]
    bare = text.strip()
    # Tokens do not contain white space at the edges of an answer.
    start += len(text) - len(text.lstrip())
    tokens = find_span_tokens(windows, start, start + len(bare))
    if tokens is None:
        raise RowProblem(N_("the tokenizer has no token for the answer"), repr(text[:40]))
    return tokens


def make_question_example(window: PairWindow, number: int, tokens: tuple[int, int] | None) -> Example:
    """Make an example of a window; its labels mark the first and the last token of the answer."""
    start, end = locate_answer_span(window, tokens)
    labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
    labels[start] = START
    # An answer of a single token has both bits.
    labels[end] = END if end != start else START | END
    columns = {"start": start, "end": end, "null": window.null, "window": number, COLUMN: window.types}
    return Example(window.ids, labels, columns)


def mask_answer_tokens(labels: np.ndarray) -> np.ndarray:
    """Return the tokens from the first to the last one of the answer, bool [length]."""
    mask = np.zeros(len(labels), dtype=bool)
    places = np.flatnonzero(labels != IGNORE)
    if len(places):
        mask[places[0] : places[-1] + 1] = True
    return mask
