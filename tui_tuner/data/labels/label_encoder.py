"""Encode a text (or a pair) with its label as an example: ids, token types, and the label.

The number of a class is known only after all rows were read, by several processes. Until then an example has
the hash of its class's name, which `Classification.number` replaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.record_encoder import EncodingBatch, Encodings, RecordEncoder, RowFacts
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.labels.names import (
    are_labels_listed,
    hash_class,
    is_whole_label,
    name_class,
    parse_label_number,
    split_labels,
)
from tui_tuner.data.labels.problem import MOST_CLASSES, MULTI, REGRESSION, SINGLE, LabelTally
from tui_tuner.data.read_data import ReadRow
from tui_tuner.data.records import IGNORE, Example, LabelledText, Record, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import RowsError
from tui_tuner.locales import N_, _
from tui_tuner.text import join_first_names, one_line

COLUMNS = {"class": "int64", "value": "float64", COLUMN: "int64"}
_COUNTED = ("rows", "texts", "fractions", "lists", "several")


class LabelEncoder(RecordEncoder):
    """Encodes texts and pairs with labels as their tokenizer wants them.

    Args:
        base: Names of the classes of the base model's head.
    """

    takes = (LabelledText,)

    @classmethod
    def check_kind(cls, config: RunConfig, read: ReadRow, record: Record) -> None:
        """Raise `DataError` for a record that is not labelled."""
        # A text with other columns next to it may have its label under an unknown name.
        text = read.columns.get("text")
        beside = [name for name in read.row.values if name != text]
        if not isinstance(record, Text) or text is None or not beside:
            super().check_kind(config, read, record)
            return
        raise RowsError(
            _(
                "no column is recognised as the label of a text; next to {text} there are: {names}.",
                text=one_line(text, 40),
                names=", ".join(join_first_names(beside, 8)),
            ),
            where=str(read.row.origin),
            hint=build_hint(
                N_(
                    "Choose the column with {command}.",
                    command=write_setting({"data.columns": {"text": text, "label": beside[0]}}),
                )
            ),
            field="data.columns",
        )

    def __init__(self, config: RunConfig, tokenizer: Any, base: Sequence[str] = ()) -> None:
        super().__init__(config, tokenizer)
        self._base = list(base)
        self._facts = RowFacts()
        self._cut = False

    # ---- a batch ------------------------------------------------------------------------------------------

    def begin_batch(self, records: list[Record]) -> EncodingBatch:
        return LabelledBatch(records)

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        assert isinstance(begun, LabelledBatch)
        begun.encoded = self._tokenise_records(
            [one for one in begun.records if isinstance(one, LabelledText)]
        )

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        assert isinstance(begun, LabelledBatch)
        found: Encodings = []
        for record, encoded in zip(begun.records, begun.encoded, strict=True):
            try:
                assert isinstance(record, LabelledText)
                found.append(self._make_example(record, encoded))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return bool(getattr(self.tokenizer, "is_fast", False))

    def _tokenise_records(self, records: Sequence[LabelledText]) -> list[dict[str, list[int]]]:
        """Tokenise records without cutting them; returns their ids and, if there are any, token types."""
        found: list[dict[str, list[int]]] = [{} for _record in records]
        # A tokenizer wants single texts and pairs in separate calls.
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

    def _make_example(self, record: LabelledText, encoded: dict[str, list[int]]) -> FittedRow:
        name, value = self._encode_label(record)
        most = self.config.data.max_length
        length = len(encoded["input_ids"])
        if not length:
            raise RowProblem(N_("the tokenizer gives no tokens for the text"))
        if length > most:
            if self.config.data.overlong == "drop":
                raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=length))
            encoded = self.tokenise_cut(record)
        ids = np.asarray(encoded["input_ids"], dtype=np.int32)
        try:
            types = pack_types(encoded.get("token_type_ids", ()))
        except ValueError:
            raise RowProblem(N_("the tokenizer gives token types in an unknown order")) from None
        columns = {"class": name, "value": value, COLUMN: types}
        example = Example(ids, np.full(len(ids), IGNORE, dtype=np.int32), columns)
        if length <= most:
            return FittedRow([example])
        if record.pair is not None:
            return FittedRow([example], "truncated", N_("cut at max_length, of the longer text first"))
        return FittedRow([example], "truncated", N_("cut at max_length"))

    def tokenise_cut(self, record: LabelledText) -> dict[str, list[int]]:
        """Tokenise a text cut to `max_length` by the tokenizer itself.

        Special tokens stay, and of a pair the longer text is cut first.

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
        # Some tokenizers cannot cut pairs, and raise errors of many kinds.
        except Exception as error:
            raise RowProblem(N_("longer than max_length, and cannot be cut"), one_line(error, 80)) from None
        found = {name: list(encoded[name]) for name in encoded}
        if len(found["input_ids"]) > most:
            raise RowProblem(N_("longer than max_length, and cannot be cut"))
        return found

    def _encode_label(self, record: LabelledText) -> tuple[int, float]:
        """Return the hash of a single class (0 for several), and the label as a number (NaN if it is none).

        Raises:
            RowProblem: there is no label, or it does not fit `data.problem`.
        """
        asked, between = self.config.data.problem, self.config.data.label_separator
        labels, several = split_labels(record.label, between), are_labels_listed(record.label, between)
        if record.label is None or any(label is None for label in labels):
            raise RowProblem(N_("the label is missing"))
        numbers = [parse_label_number(label) for label in labels]
        number = numbers[0] if len(numbers) == 1 else None
        if asked == REGRESSION and number is None:
            raise RowProblem(N_("the label is not a number"), one_line(record.label, 80))
        if asked == SINGLE and len(labels) != 1:
            raise RowProblem(N_("the row has a list of classes, not one class"), one_line(record.label, 80))
        if asked in (SINGLE, MULTI) and any(one is not None and not is_whole_label(one) for one in numbers):
            raise RowProblem(N_("the label is a number with a fraction, not a class"), str(record.label))
        name = hash_class(name_class(labels[0])) if len(labels) == 1 and asked != MULTI else 0
        return name, math.nan if number is None or (several and asked == MULTI) else number

    # ---- facts about all rows -----------------------------------------------------------------------------

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        assert isinstance(record, LabelledText)
        self._facts = facts
        between = self.config.data.label_separator
        labels = split_labels(record.label, between)
        facts.note_origin("rows", origin)
        if are_labels_listed(record.label, between):
            facts.note_origin("lists", origin)
            if len(labels) != 1:
                facts.note_origin("several", origin)
        numbers = [parse_label_number(label) for label in labels]
        if any(number is None for number in numbers):
            facts.note_origin("texts", origin)
        if any(number is not None and not is_whole_label(number) for number in numbers):
            facts.note_origin("fractions", origin)
        for name in {name_class(label) for label in labels}:
            key = f"class {name}"
            if key in facts.counts or facts.get_count("classes") < MOST_CLASSES:
                facts.add_count("classes", key not in facts.counts)
                facts.note_origin(key, origin)
            else:
                facts.note_origin("too many", origin)
        # Once is enough: the note is about the setting and not about this row.
        if fitted.outcome == "truncated" and self.config.data.overlong == "split" and not self._cut:
            self._cut = True
            self.notes.append(
                _("A text has one label as a whole, so it is not split: what exceeds max_length is cut off.")
            )

    def export_learned(self) -> dict[str, Any]:
        return {**sum_up_encoded_labels(self._facts, self._base).__dict__}


class LabelledBatch(EncodingBatch):
    """A batch of records, and later the tokens of each."""

    encoded: list[dict[str, list[int]]]


def sum_up_encoded_labels(facts: RowFacts, base: Sequence[str] = ()) -> LabelTally:
    """Sum up what was noted of the labels of all rows."""
    classes = {
        key.removeprefix("class "): count for key, count in facts.counts.items() if key.startswith("class ")
    }
    # With this many names the labels are not classes, and a partial list would mislead.
    if facts.get_count("too many"):
        classes = {}
    return LabelTally(classes, **{name: facts.get_count(name) for name in _COUNTED}, base=list(base))
