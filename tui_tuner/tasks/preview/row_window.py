"""Show the rows around one row as tokens: their lengths, their trained share, and the row's neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.examples.record_encoder import RowEncoder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.records import list_record_texts
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import DEFAULT_TASK, ExampleCollector, choose_mask_task
from tui_tuner.tasks.preview.own_tokenizer import copy_tokenizer
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.read_data import ReadRow

ROWS = 200
# Most text that is tokenised, so that huge documents appear at once too
CHARACTERS = 2_000_000
_UNCUT = 2**31 - 1


@dataclass
class RowWindow:
    """A window of rows as tokens.

    Args:
        first: The first row (from 1).
        rows: The number of rows.
        lengths: Tokens of each whole row, before it is fitted to `max_length`.
        pieces: The sequences made of the rows, as (row from 1, bool [length], True where trained).
    """

    first: int
    rows: int
    max_length: int
    outcomes: dict[str, int]
    lengths: list[int] = field(default_factory=list)
    pieces: list[tuple[int, np.ndarray]] = field(default_factory=list)

    @property
    def count_tokens(self) -> int:
        """Count the tokens of all sequences."""
        return sum(len(trained) for _row, trained in self.pieces)

    @property
    def count_trained(self) -> int:
        """Count the trained tokens of all sequences."""
        return int(sum(trained.sum() for _row, trained in self.pieces))

    @property
    def trained_share(self) -> float:
        """Return trained tokens as a share of all; 0 if there are none."""
        return self.count_trained / self.count_tokens if self.count_tokens else 0.0

    @property
    def count_longer(self) -> int:
        """Count the rows that are longer than `max_length`."""
        return sum(length > self.max_length for length in self.lengths)

    def count_lengths(self) -> list[tuple[int, int, int]]:
        """Return (above, up to, rows) of each range of lengths, from the shortest row to the longest.

        Ranges double in width; `max_length` is always an edge.
        """
        if not self.lengths:
            return []
        limit = self.max_length
        doubled = itertools.takewhile(lambda edge: edge < max(self.lengths), (8 << n for n in range(32)))
        # An edge close to `max_length` would give a very narrow bar, so it is left out.
        edges = [edge for edge in doubled if edge <= limit / 1.25 or edge >= limit * 1.25]
        edges = sorted({0, *edges, *([limit] if max(self.lengths) > limit / 1.25 else [])})
        if edges[-1] < max(self.lengths):
            edges.append(edges[-1] * 2)
        edges[-1] = max(edges[-1], max(self.lengths))
        # numpy's ranges include their lower edge; minus a half they include the upper one instead.
        counts = np.histogram(np.asarray(self.lengths) - 0.5, edges)[0]
        bars = list(zip(edges, edges[1:], counts.tolist(), strict=False))
        while not bars[0][2]:
            bars.pop(0)
        return bars

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `histogram` counts whole rows by their tokens."""
        return {
            "first_row": self.first,
            "rows": self.rows,
            "outcomes": {name: count for name, count in self.outcomes.items() if count},
            "sequences": len(self.pieces),
            "tokens": self.count_tokens,
            "trained": self.count_trained,
            "supervised_share": round(self.trained_share, 4),
            "max_length": self.max_length,
            "longer_than_max_length": self.count_longer,
            "mean_length": round(sum(self.lengths) / len(self.lengths), 1) if self.lengths else 0.0,
            "longest": max(self.lengths, default=0),
            "histogram": [
                {"above": low, "up_to": high, "rows": rows} for low, high, rows in self.count_lengths()
            ],
        }


def tokenise_window(
    model: ModelSection,
    data: DataSection,
    row: int,
    tokenizer: Any,
    count: int = ROWS,
    wanted: str = DEFAULT_TASK,
    kept: Callable[[int], ReadRow] | None = None,
) -> RowWindow:
    """Tokenise the first `count` rows of the data, or the `count` that end with `row` (from 1).

    Args:
        kept: Returns a row (from 0) that was read before, so that nothing is read again.

    Raises:
        UsageError: there is no such row.
        DataError: the data cannot be read or understood.
        ModelError: the tokenizer cannot be used.
    """
    reads, first = _read_window(data, row, count) if kept is None else _pick_window(kept, row, count)
    record = next((read.record for read in reads if read.record is not None), None)
    name = choose_mask_task(record, wanted)
    config, task = RunConfig(task=name, model=model, data=data), find_task(name)
    tokenizer, _notes = copy_tokenizer(config, tokenizer)
    encoder, ledger, held = RowEncoder(task.make_encoder(config, tokenizer)), Ledger(), ExampleCollector()
    # Rows that do not survive the limit are encoded again without it, so that their length is known.
    limits = dict.fromkeys(("max_length", "max_source", "max_target"), _UNCUT)
    uncut = config.model_copy(update={"data": data.model_copy(update=limits)})
    whole = RowEncoder(task.make_encoder(uncut, tokenizer))
    found = RowWindow(first, len(reads), config.data.max_length, ledger.outcomes)
    for number, read in enumerate(reads, first):
        before = dict(ledger.outcomes)
        held.examples.clear()
        encoder.encode_rows([read], held, ledger)
        shown = task.preview_examples(config, tokenizer, held.examples, number - 1)
        found.pieces += [(number, task.trained_mask(example)) for example in shown]
        if ledger.outcomes["kept"] + ledger.outcomes["changed"] == before["kept"] + before["changed"]:
            held.examples.clear()
            whole.encode_rows([read], held, Ledger())
        found.lengths += [sum(map(len, held.examples))] if held.examples else []
    return found


def _pick_window(kept: Callable[[int], ReadRow], row: int, count: int) -> tuple[list[ReadRow], int]:
    """Return the window of rows and its first row's number, from rows that were read before."""
    last = max(row, count)
    reads: list[ReadRow] = []
    first, characters = max(0, last - count), 0
    # Backwards from the row itself, so that it is included whatever the neighbours take.
    for at in range(row - 1, first - 1, -1):
        read = kept(at)
        characters += sum(map(len, list_record_texts(read.record))) if read.record is not None else 0
        if reads and characters > CHARACTERS:
            first = at + 1
            break
        reads.insert(0, read)
    for at in range(row, last):
        try:
            read = kept(at)
        except IndexError:
            break
        characters += sum(map(len, list_record_texts(read.record))) if read.record is not None else 0
        if characters > CHARACTERS:
            break
        reads.append(read)
    return reads, first + 1


def _read_window(data: DataSection, row: int, count: int) -> tuple[list[ReadRow], int]:
    """Read up to `count` rows and `CHARACTERS`, including `row`; return them and the first row's number."""
    first = max(1, row - count + 1)
    reads: list[ReadRow] = []
    size = 0
    for number, read in enumerate(itertools.islice(DataReading(data), first - 1, first - 1 + count), first):
        reads.append(read)
        size += sum(map(len, list_record_texts(read.record))) if read.record is not None else 0
        # Too much text before the wanted row is dropped again, from the front, until the row is reached.
        while size > CHARACTERS and number <= row and len(reads) > 1:
            gone = reads.pop(0)
            first += 1
            size -= sum(map(len, list_record_texts(gone.record))) if gone.record is not None else 0
        if size > CHARACTERS:
            break
    if first + len(reads) <= row:
        raise UsageError(_("there is no row {row:,}.", row=row), where=one_line(data.path))
    return reads, first
