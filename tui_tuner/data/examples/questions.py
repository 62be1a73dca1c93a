"""Questions about a text as examples: windows, each with the place of the answer in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tui_tuner.config.advice import advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.examples.token_types import COLUMN
from tui_tuner.data.examples.windows import PairWindows, Window, span_in, tokens_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Question, Record
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _

LONGEST_ANSWER = 30  # tokens of the longest answer that is looked for
START, END = 1, 2  # bits of a label: the answer begins here, and ends here
COLUMNS = {"start": "int32", "end": "int32", "null": "int32", "window": "int32", COLUMN: "int64"}
WITHOUT = "questions without an answer"
TORN = "answers that no window holds whole"
LONG = "answers longer than can be found"


class QuestionEncoder(Encoder):
    """Each window of a question's text is an example: where the answer begins and ends, or the null position.

    Of several right answers the first is learnt.
    """

    takes = (Question,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        data = config.data
        if data.stride >= data.max_length:
            raise ConfigError(
                _(
                    "windows of {most} tokens cannot share {stride}.",
                    most=data.max_length,
                    stride=data.stride,
                ),
                where="data.stride",
                hint=advise(
                    N_("Lower it with {lower}.", lower=setting({"data.stride": data.max_length // 4}))
                ),
            )
        self.windows = PairWindows(tokenizer, data.max_length, data.stride)
        self.unanswerable = False

    def finish(self, begun: Begun) -> Encodings:
        records = [record for record in begun.records if isinstance(record, Question)]
        cut = self.windows.cut([one.question for one in records], [one.context for one in records])
        found: Encodings = []
        for record, windows in zip(records, cut, strict=True):
            try:
                found.append(self._fit(record, windows))
            except RowProblem as problem:
                found.append(problem)
        return found

    def _fit(self, record: Question, windows: list[Window] | RowProblem) -> Fitted:
        if isinstance(windows, RowProblem):
            raise windows
        self.unanswerable |= not record.answers
        tokens = answer_tokens(record, windows)
        overlong = self.config.data.overlong
        if len(windows) > 1 and overlong == "drop":
            raise RowProblem(N_("longer than max_length"), _("{count} windows", count=len(windows)))
        examples = [example_of(window, number, tokens) for number, window in enumerate(windows)]
        if len(windows) == 1:
            return Fitted(examples)
        if overlong == "truncate":
            if tokens is not None and examples[0].columns["start"] == windows[0].null:
                raise RowProblem(N_("the answer lies beyond max_length"))
            return Fitted(examples[:1], "truncated", N_("cut at max_length"))
        return Fitted(examples, "split", N_("a text longer than max_length, in windows"))

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        assert isinstance(record, Question)
        if not record.answers:
            facts.note(WITHOUT, origin)
            return
        spans = [(one.columns["start"], one.columns["end"], one.columns["null"]) for one in fitted.examples]
        held = [end - start + 1 for start, end, null in spans if start != null]
        if not held:
            facts.note(TORN, origin)
        elif held[0] > LONGEST_ANSWER:
            facts.note(LONG, origin)

    def learned(self) -> dict[str, Any]:
        return {"unanswerable": self.unanswerable}

    def learn(self, learned: dict[str, Any]) -> None:
        self.unanswerable |= bool(learned["unanswerable"])


def answer_tokens(record: Question, windows: list[Window]) -> tuple[int, int] | None:
    """The tokens of the answer that is learnt, among all of the text's; None where there is no answer.

    Raises:
        RowProblem: no token stands for any of its characters.
    """
    if not record.answers:
        return None
    text, start = record.answers[0]
    bare = text.strip()
    start += len(text) - len(text.lstrip())
    tokens = tokens_of(windows, start, start + len(bare))
    if tokens is None:
        raise RowProblem(N_("the tokenizer has no token for the answer"), repr(text[:40]))
    return tokens


def example_of(window: Window, number: int, tokens: tuple[int, int] | None) -> Example:
    """A window as an example; labels say where the answer begins and ends."""
    start, end = span_in(window, tokens)
    labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
    labels[start] = START
    labels[end] = END if end != start else START | END
    columns = {"start": start, "end": end, "null": window.null, "window": number, COLUMN: window.types}
    return Example(window.ids, labels, columns)


def answer_mask(labels: np.ndarray) -> np.ndarray:
    """bool [length]: the tokens of the answer, from where it begins to where it ends."""
    mask = np.zeros(len(labels), dtype=bool)
    places = np.flatnonzero(labels != IGNORE)
    if len(places):
        mask[places[0] : places[-1] + 1] = True
    return mask
