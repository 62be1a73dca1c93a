"""From a text (or a pair) with its label to an example: ids, token types, and what the label is.

What a class's number is can only be said when all rows were seen, and rows are seen by several processes: an
example has the hash of its class's name, which `Classification.number` replaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.advice import advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.labels.names import are_listed, class_hash, class_name, is_whole, labels_of, number_of
from tui_tuner.data.labels.problem import MOST_CLASSES, MULTI, REGRESSION, SINGLE, Tally
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import Read
from tui_tuner.data.records import IGNORE, Example, Labelled, Record, Text
from tui_tuner.errors import RowsError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, some_of

COLUMNS = {"class": "int64", "value": "float64", COLUMN: "int64"}
_COUNTED = ("rows", "texts", "fractions", "lists", "several")


class LabelEncoder(Encoder):
    """Texts and pairs with labels, called as their tokenizer wants them.

    Args:
        base: Names of the classes of the base model's own head.
    """

    takes = (Labelled,)

    @classmethod
    def check_kind(cls, config: RunConfig, read: Read, record: Record) -> None:
        """The same; of texts with columns beside them, one may be the label under another name."""
        text = read.columns.get("text")
        beside = [name for name in read.row.values if name != text]
        if not isinstance(record, Text) or text is None or not beside:
            super().check_kind(config, read, record)
            return
        raise RowsError(
            _(
                "no column is known as the label of a text; beside {text} there are: {names}.",
                text=one_line(text, 40),
                names=", ".join(some_of(beside, 8)),
            ),
            where=str(read.row.origin),
            hint=advise(
                N_(
                    "Say which it is with {command}.",
                    command=setting({"data.columns": {"text": text, "label": beside[0]}}),
                )
            ),
            field="data.columns",
        )

    def __init__(self, config: RunConfig, tokenizer: Any, base: Sequence[str] = ()) -> None:
        super().__init__(config, tokenizer)
        self._base = list(base)
        self._facts = Facts()
        self._cut = False

    # ---- a batch ------------------------------------------------------------------------------------------

    def begin(self, records: list[Record]) -> Begun:
        return LabelledBatch(records)

    def tokenise(self, begun: Begun) -> None:
        assert isinstance(begun, LabelledBatch)
        begun.encoded = self._tokens([one for one in begun.records if isinstance(one, Labelled)])

    def finish(self, begun: Begun) -> Encodings:
        assert isinstance(begun, LabelledBatch)
        found: Encodings = []
        for record, encoded in zip(begun.records, begun.encoded, strict=True):
            try:
                assert isinstance(record, Labelled)
                found.append(self._example(record, encoded))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return bool(getattr(self.tokenizer, "is_fast", False))

    def _tokens(self, records: Sequence[Labelled]) -> list[dict[str, list[int]]]:
        """Ids and, where the tokenizer gives them, token types of each record; nothing is cut."""
        found: list[dict[str, list[int]]] = [{} for _record in records]
        for pairs in (False, True):
            places = [place for place, one in enumerate(records) if (one.pair is not None) == pairs]
            if not places:
                continue
            second = [[str(records[place].pair) for place in places]] if pairs else []
            encoded = self.tokenizer(
                [records[place].text for place in places], *second, return_attention_mask=False
            )
            for line, place in enumerate(places):
                found[place] = {name: encoded[name][line] for name in encoded}
        return found

    def _example(self, record: Labelled, encoded: dict[str, list[int]]) -> Fitted:
        name, value = self._label(record)
        most = self.config.data.max_length
        length = len(encoded["input_ids"])
        if not length:
            raise RowProblem(N_("the tokenizer makes nothing of the text"))
        if length > most:
            if self.config.data.overlong == "drop":
                raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=length))
            encoded = self.shortened(record)
        ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        try:
            types = pack_types(encoded.get("token_type_ids", ()))
        except ValueError:
            raise RowProblem(N_("the tokenizer numbers its texts in an order that is not known")) from None
        columns = {"class": name, "value": value, COLUMN: types}
        example = Example(ids, np.full(len(ids), IGNORE, dtype=np.int32), columns)
        if length <= most:
            return Fitted([example])
        if record.pair is not None:
            return Fitted([example], "truncated", N_("cut at max_length, of the longer text first"))
        return Fitted([example], "truncated", N_("cut at max_length"))

    def shortened(self, record: Labelled) -> dict[str, list[int]]:
        """What the tokenizer makes of a text, cut to `max_length` as it cuts itself.

        Special tokens stay, and of a pair the longer text gives way first.

        Raises:
            RowProblem: it is too long and cannot be cut.
        """
        most = self.config.data.max_length
        second = [] if record.pair is None else [record.pair]
        try:
            encoded = self.tokenizer(
                record.text,
                *second,
                truncation="longest_first" if second else True,
                max_length=most,
                return_attention_mask=False,
            )
        except Exception as error:  # some tokenizers cannot cut pairs
            raise RowProblem(N_("longer than max_length, and cannot be cut"), one_line(error, 80)) from None
        found = {name: list(encoded[name]) for name in encoded}
        if len(found["input_ids"]) > most:
            raise RowProblem(N_("longer than max_length, and cannot be cut"))
        return found

    def _label(self, record: Labelled) -> tuple[int, float]:
        """The hash of a single class (0 for several), and the number that the label is (NaN for none).

        Raises:
            RowProblem: there is no label, or it is not what `data.problem` says.
        """
        asked, between = self.config.data.problem, self.config.data.label_separator
        labels, several = labels_of(record.label, between), are_listed(record.label, between)
        if record.label is None or any(label is None for label in labels):
            raise RowProblem(N_("the label is missing"))
        numbers = [number_of(label) for label in labels]
        number = numbers[0] if len(numbers) == 1 else None
        if asked == REGRESSION and number is None:
            raise RowProblem(N_("the label is no number"), one_line(record.label, 80))
        if asked == SINGLE and len(labels) != 1:
            raise RowProblem(N_("the row has not one class but a list of them"), one_line(record.label, 80))
        if asked in (SINGLE, MULTI) and any(one is not None and not is_whole(one) for one in numbers):
            raise RowProblem(N_("the label is a number with a fraction, not a class"), str(record.label))
        name = class_hash(class_name(labels[0])) if len(labels) == 1 and asked != MULTI else 0
        return name, math.nan if number is None or (several and asked == MULTI) else number

    # ---- what all rows say --------------------------------------------------------------------------------

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        assert isinstance(record, Labelled)
        self._facts = facts
        between = self.config.data.label_separator
        labels = labels_of(record.label, between)
        facts.note("rows", origin)
        if are_listed(record.label, between):
            facts.note("lists", origin)
            if len(labels) != 1:
                facts.note("several", origin)
        numbers = [number_of(label) for label in labels]
        if any(number is None for number in numbers):
            facts.note("texts", origin)
        if any(number is not None and not is_whole(number) for number in numbers):
            facts.note("fractions", origin)
        for name in {class_name(label) for label in labels}:
            key = f"class {name}"
            if key in facts.counts or facts.count("classes") < MOST_CLASSES:
                facts.add("classes", key not in facts.counts)
                facts.note(key, origin)
            else:
                facts.note("too many", origin)
        if fitted.outcome == "truncated" and self.config.data.overlong == "split" and not self._cut:
            self._cut = True
            self.notes.append(
                _("A text has one label as a whole, so it is not split: what exceeds max_length is cut off.")
            )

    def learned(self) -> dict[str, Any]:
        return {**tally_of(self._facts, self._base).__dict__}


class LabelledBatch(Begun):
    """A batch of records, and then what the tokenizer made of each."""

    encoded: list[dict[str, list[int]]]


def tally_of(facts: Facts, base: Sequence[str] = ()) -> Tally:
    """What was noted of the labels of all rows."""
    classes = {
        key.removeprefix("class "): count for key, count in facts.counts.items() if key.startswith("class ")
    }
    if facts.count("too many"):
        classes = {}
    return Tally(classes, **{name: facts.count(name) for name in _COUNTED}, base=list(base))
