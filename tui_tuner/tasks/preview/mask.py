"""One row as the model sees it: its tokens, and which of them are trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.chat.remarks import REMARKS
from tui_tuner.data.examples.encoder import RowEncoder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preview import MaskToken, MaskView
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import MERGED, FileDetection, Read, Reading
from tui_tuner.data.records import Example, Record
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.tasks import Task, find_task, name_of_task
from tui_tuner.tasks.preview.own_tokenizer import own_tokenizer
from tui_tuner.text import one_line

if TYPE_CHECKING:
    import numpy as np

DEFAULT_TASK = "sft"  # says why it cannot use a row that no task takes


def mask_row(
    model: ModelSection, data: DataSection, row: int, tokenizer: Any = None, wanted: str = DEFAULT_TASK
) -> MaskView:
    """The tokens of the `row`-th row of the data (from 1) and which of them are trained.

    The tokenizer is loaded from `model` unless given, and left as it is. A row is shown as the `wanted` task
    sees it, or where that takes no such rows as the first task that does: plain text is shown as in
    pretraining.

    Raises:
        UsageError: there is no such row.
        DataError: the data cannot be read or understood.
        ModelError: the tokenizer cannot be used.
    """
    if row < 1:
        raise UsageError(_("rows count from 1."), where="--row")
    reading = Reading(data)
    read = next(itertools.islice(reading, row - 1, None), None)
    if read is None:
        raise UsageError(_("there is no row {row:,}.", row=row), where=one_line(data.path))
    if tokenizer is None:
        from tui_tuner.models.loading import load_tokenizer

        tokenizer = load_tokenizer(model)
    return _view(read, model, data, tokenizer, reading.detections, wanted)


def mask_read(read: Read, model: ModelSection, data: DataSection, tokenizer: Any, wanted: str) -> MaskView:
    """The same of a row that was read before.

    Raises:
        ModelError: the tokenizer cannot be used.
    """
    return _view(read, model, data, tokenizer, [], wanted)


def _view(
    read: Read,
    model: ModelSection,
    data: DataSection,
    tokenizer: Any,
    detections: list[FileDetection],
    wanted: str,
) -> MaskView:
    if read.merged:
        return MaskView([], str(read.row.origin), "merged", _(MERGED), [])
    if read.record is None:
        problem = read.problem or RowProblem(N_("unreadable"))
        return MaskView([], str(read.row.origin), "dropped", str(problem), [])
    name = task_to_show(read.record, wanted)
    config, task = RunConfig(task=name, model=model, data=data), find_task(name)
    tokenizer, notes = own_tokenizer(config, tokenizer)
    encoder = task.encoder(config, tokenizer)
    collected, ledger = Collected(), Ledger()
    RowEncoder(encoder).add([read], collected, ledger)
    tokens = [
        token
        for number, example in enumerate(collected.examples)
        for token in _tokens(tokenizer, example.ids, task.trained_mask(example), number)
    ]
    teaches = _described(task, read.record, collected.examples)
    outcome = next(name for name, count in ledger.outcomes.items() if count)
    reasons = ledger.reasons(outcome)
    why = _(reasons[0].reason) if reasons else ""
    if reasons and outcome == "dropped" and reasons[0].samples[0]["text"]:
        why += f": {reasons[0].samples[0]['text']}"
    notes += [*encoder.notes, *(_(step.reason) for step in ledger.steps())]
    said = dict.fromkeys(remark for one in collected.examples for remark in getattr(one, "remarks", ()))
    notes += [_(REMARKS[remark]) for remark in said if REMARKS[remark]]
    return MaskView(tokens, str(read.row.origin), outcome, why, notes, _found_note(detections), teaches)


def _described(task: Task, record: Record, examples: Sequence[Example]) -> list[str]:
    """What each sequence of a row teaches; once where it is the same for all."""
    said = [task.describe(record, example) for example in examples]
    if len(set(said)) < 2:
        return list(filter(None, said[:1]))
    return [
        _("sequence {number}: {what}", number=number, what=what)
        for number, what in enumerate(said, 1)
        if what
    ]


def task_to_show(record: Record | None, wanted: str) -> str:
    """The wanted task if it takes such records, or the first that does; the wanted one where none does."""
    if record is None or isinstance(record, find_task(wanted).records):
        return wanted
    return name_of_task(record) or wanted


def _found_note(detections: list[FileDetection]) -> str:
    found = detections[-1].detection if detections else None
    if found is None:
        return ""
    return _(
        "Format: {format}, {sure:.0%} sure ({why}).",
        format=found.format,
        sure=found.confidence,
        why=found.why,
    )


class Collected:
    """Takes rows as a `StoreWriter` does and keeps them in memory."""

    def __init__(self) -> None:
        self.examples: list[Example] = []

    def add(
        self,
        origin: Any,
        source: int,
        examples: Sequence[Example],
        record: Any,
        content: int,
        stratum: int = 0,
    ) -> None:
        self.examples += examples


def _tokens(tokenizer: Any, ids: np.ndarray, trained: np.ndarray, piece: int) -> list[MaskToken]:
    special = special_ids(tokenizer)
    texts = token_texts(tokenizer, [int(token) for token in ids])
    return [
        MaskToken(int(token), text, bool(flag), int(token) in special, piece)
        for token, flag, text in zip(ids, trained, texts, strict=True)
    ]


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of tokens that are no text: bos, eos, turn markers."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {int(key) for key, token in added.items() if token.special}


def token_texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token with its leading space; the vocabulary entry of a part of a character."""
    raw = tokenizer.convert_ids_to_tokens(ids)
    texts = []
    for place, token in enumerate(ids):
        before = ids[max(0, place - 1) : place]
        lead = _decode(tokenizer, before) if before else ""
        both = _decode(tokenizer, [*before, token])
        text = both[len(lead) :] if both.startswith(lead) else _decode(tokenizer, [token])
        texts.append(str(raw[place]) if "\ufffd" in text or not text else text)
    return texts


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
