"""Show one row as the model sees it: its tokens, and which of them are trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.chat.remarks import REMARKS
from tui_tuner.data.examples.record_encoder import RowEncoder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preview import MaskToken, MaskView
from tui_tuner.data.read_data import MERGED, DataReading, FileDetection, ReadRow
from tui_tuner.data.records import Example, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.tasks import Task, find_task, name_of_task
from tui_tuner.tasks.preview.own_tokenizer import copy_tokenizer
from tui_tuner.text import one_line

# Its encoder explains why a row cannot be used, if no task takes the row
DEFAULT_TASK = "sft"


def mask_row(
    model: ModelSection, data: DataSection, row: int, tokenizer: Any = None, wanted: str = DEFAULT_TASK
) -> MaskView:
    """Return the tokens of a row of the data (from 1), and which of them are trained.

    The tokenizer is loaded from `model` unless given, and is not changed. A row is shown as the `wanted` task
    sees it, or else as the first task that takes such rows: plain text is shown as in pretraining.

    Raises:
        UsageError: there is no such row.
        DataError: the data cannot be read or understood.
        ModelError: the tokenizer cannot be used.
    """
    if row < 1:
        raise UsageError(_("rows are numbered from 1."), where="--row")
    reading = DataReading(data)
    read = next(itertools.islice(reading, row - 1, None), None)
    if read is None:
        raise UsageError(_("there is no row {row:,}.", row=row), where=one_line(data.path))
    if tokenizer is None:
        from tui_tuner.models.loading import load_tokenizer

        tokenizer = load_tokenizer(model)
    return _build_view(read, model, data, tokenizer, reading.detections, wanted)


def mask_read_row(
    read: ReadRow, model: ModelSection, data: DataSection, tokenizer: Any, wanted: str
) -> MaskView:
    """Return the tokens of a row that was read before, and which of them are trained.

    Raises:
        ModelError: the tokenizer cannot be used.
    """
    return _build_view(read, model, data, tokenizer, [], wanted)


def _build_view(
    read: ReadRow,
    model: ModelSection,
    data: DataSection,
    tokenizer: Any,
    detections: list[FileDetection],
    wanted: str,
) -> MaskView:
    # The row became part of another one, whose view shows its tokens.
    if read.merged:
        return MaskView([], str(read.row.origin), "merged", _(MERGED), [])
    if read.record is None:
        problem = read.problem or RowProblem(N_("unreadable"))
        return MaskView([], str(read.row.origin), "dropped", str(problem), [])
    name = choose_mask_task(read.record, wanted)
    config, task = RunConfig(task=name, model=model, data=data), find_task(name)
    tokenizer, notes = copy_tokenizer(config, tokenizer)
    encoder = task.make_encoder(config, tokenizer)
    collected, ledger = ExampleCollector(), Ledger()
    RowEncoder(encoder).encode_rows([read], collected, ledger)
    hides = config.task_kind.hides
    tokens = [
        token
        for number, example in enumerate(
            task.preview_examples(config, tokenizer, collected.examples, read.row.origin.row - 1)
        )
        for token in _list_tokens(tokenizer, example, task, number, hides)
    ]
    teaches = _describe_examples(task, read.record, collected.examples)
    # The ledger saw this one row only, so exactly one outcome has a count.
    outcome = next(name for name, count in ledger.outcomes.items() if count)
    reasons = ledger.list_reasons(outcome)
    why = _(reasons[0].reason) if reasons else ""
    if reasons and outcome == "dropped" and reasons[0].samples[0]["text"]:
        why += f": {reasons[0].samples[0]['text']}"
    notes += [*encoder.notes, *(_(step.reason) for step in ledger.list_steps())]
    said = dict.fromkeys(remark for one in collected.examples for remark in getattr(one, "remarks", ()))
    notes += [_(REMARKS[remark]) for remark in said if REMARKS[remark]]
    if hides and tokens:
        notes.append(_("Hidden tokens and what they were, as drawn for an epoch; each epoch draws others."))
    return MaskView(tokens, str(read.row.origin), outcome, why, notes, _found_note(detections), teaches)


def _describe_examples(task: Task, record: Record, examples: Sequence[Example]) -> list[str]:
    """Describe what each sequence of a row teaches; once if it is the same for all."""
    said = [task.describe_example(record, example) for example in examples]
    if len(set(said)) < 2:
        return list(filter(None, said[:1]))
    return [
        _("sequence {number}: {what}", number=number, what=what)
        for number, what in enumerate(said, 1)
        if what
    ]


def choose_mask_task(record: Record | None, wanted: str) -> str:
    """Return the wanted task if it takes such records, else the first that does, else the wanted one."""
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


class ExampleCollector:
    """Takes rows as a `StoreWriter` does, but keeps them in memory."""

    def __init__(self) -> None:
        self.examples: list[Example] = []

    def add_row(
        self,
        origin: Any,
        source: int,
        examples: Sequence[Example],
        record: Any,
        content: int,
        stratum: int = 0,
    ) -> None:
        self.examples += examples


def _list_tokens(
    tokenizer: Any, example: Example, task: Task, piece: int, hides: bool = False
) -> list[MaskToken]:
    """List the tokens of an example; if the task `hides` some, its labels are what they were."""
    special, ids = list_special_ids(tokenizer), example.ids.tolist()
    texts, trained = list_token_texts(tokenizer, ids), task.trained_mask(example)
    weights = task.list_token_weights(example)
    counts = itertools.repeat(1.0) if weights is None else np.where(trained, weights, 1.0).tolist()
    wanted = [""] * len(ids)
    for place in np.flatnonzero(trained).tolist() if hides else ():
        wanted[place] = list_token_texts(tokenizer, [int(example.labels[place])])[0].strip()
    return [
        # Six digits, as float32 has no more: 0.1 is not shown as 0.10000000149.
        MaskToken(token, text, flag, token in special, piece, float(f"{count:.6g}"), hidden)
        for token, text, flag, count, hidden in zip(
            ids, texts, trained.tolist(), counts, wanted, strict=False
        )
    ]


def list_special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of tokens that are not text: bos, eos, turn markers."""
    # Turn markers of chat templates are often added tokens that `all_special_ids` does not list.
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {int(key) for key, token in added.items() if token.special}


def list_token_texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """Return the text of each token with its leading space, or its vocabulary entry."""
    raw = tokenizer.convert_ids_to_tokens(ids)
    texts = []
    for place, token in enumerate(ids):
        before = ids[max(0, place - 1) : place]
        # Decoders drop the space of a first token, so each is decoded after the one before it.
        lead = _decode_ids(tokenizer, before) if before else ""
        both = _decode_ids(tokenizer, [*before, token])
        text = both[len(lead) :] if both.startswith(lead) else _decode_ids(tokenizer, [token])
        # Half a character decodes to U+FFFD; the vocabulary entry at least shows its bytes.
        texts.append(str(raw[place]) if "\ufffd" in text or not text else text)
    return texts


def _decode_ids(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
