"""The rows around one row as tokens: their lengths, how much of them is trained, and the row's neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.examples.encoder import RowEncoder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Reading
from tui_tuner.data.records import texts_of
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import DEFAULT_TASK, Collected, task_to_show
from tui_tuner.tasks.preview.own_tokenizer import own_tokenizer
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.reading import Read

ROWS = 200
CHARACTERS = 2_000_000  # no more text than this is tokenised, so that huge documents come at once too
_UNCUT = 2**31 - 1


@dataclass
class Around:
    """`rows` rows from `first` on (from 1). `lengths`: tokens of each whole row, before it is made to fit.

    `pieces`: the sequences they became, each as (row from 1, bool [length], True where trained).
    """

    first: int
    rows: int
    max_length: int
    outcomes: dict[str, int]
    lengths: list[int] = field(default_factory=list)
    pieces: list[tuple[int, np.ndarray]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(trained) for _row, trained in self.pieces)

    @property
    def trained(self) -> int:
        """Trained tokens of all sequences."""
        return int(sum(trained.sum() for _row, trained in self.pieces))

    @property
    def share(self) -> float:
        """Trained tokens as a share of all; 0 if there are none."""
        return self.trained / self.tokens if self.tokens else 0.0

    @property
    def longer(self) -> int:
        """Rows that are longer than `max_length`."""
        return sum(length > self.max_length for length in self.lengths)

    def bars(self) -> list[tuple[int, int, int]]:
        """(above, up to, rows) of each range of lengths, from the shortest row to the longest.

        Ranges double in width; `max_length` is always an edge.
        """
        if not self.lengths:
            return []
        limit = self.max_length
        doubled = itertools.takewhile(lambda edge: edge < max(self.lengths), (8 << n for n in range(32)))
        edges = [edge for edge in doubled if edge <= limit / 1.25 or edge >= limit * 1.25]
        edges = sorted({0, *edges, *([limit] if max(self.lengths) > limit / 1.25 else [])})
        if edges[-1] < max(self.lengths):
            edges.append(edges[-1] * 2)
        edges[-1] = max(edges[-1], max(self.lengths))
        counts = np.histogram(np.asarray(self.lengths) - 0.5, edges)[0]
        bars = list(zip(edges, edges[1:], counts.tolist(), strict=False))
        while not bars[0][2]:
            bars.pop(0)
        return bars

    def to_json(self) -> dict[str, Any]:
        """Plain values; `histogram` counts whole rows by their tokens."""
        return {
            "first_row": self.first,
            "rows": self.rows,
            "outcomes": {name: count for name, count in self.outcomes.items() if count},
            "sequences": len(self.pieces),
            "tokens": self.tokens,
            "trained": self.trained,
            "supervised_share": round(self.share, 4),
            "max_length": self.max_length,
            "longer_than_max_length": self.longer,
            "mean_length": round(sum(self.lengths) / len(self.lengths), 1) if self.lengths else 0.0,
            "longest": max(self.lengths, default=0),
            "histogram": [{"above": low, "up_to": high, "rows": rows} for low, high, rows in self.bars()],
        }


def look_around(
    model: ModelSection,
    data: DataSection,
    row: int,
    tokenizer: Any,
    count: int = ROWS,
    wanted: str = DEFAULT_TASK,
    kept: Callable[[int], Read] | None = None,
) -> Around:
    """Tokenise the first `count` rows of the data, or the `count` that end with `row` (from 1).

    Args:
        kept: Gives any row up to `row` (from 0) that was read before, so that nothing is read again.

    Raises:
        UsageError: there is no such row.
        DataError: the data cannot be read or understood.
        ModelError: the tokenizer cannot be used.
    """
    reads, first = _window(data, row, count) if kept is None else _window_of(kept, row, count)
    record = next((read.record for read in reads if read.record is not None), None)
    name = task_to_show(record, wanted)
    config, task = RunConfig(task=name, model=model, data=data), find_task(name)
    tokenizer, _notes = own_tokenizer(config, tokenizer)
    encoder, ledger, held = RowEncoder(task.encoder(config, tokenizer)), Ledger(), Collected()
    uncut = config.model_copy(update={"data": data.model_copy(update={"max_length": _UNCUT})})
    whole = RowEncoder(task.encoder(uncut, tokenizer))
    found = Around(first, len(reads), data.max_length, ledger.outcomes)
    for number, read in enumerate(reads, first):
        before = dict(ledger.outcomes)
        held.examples.clear()
        encoder.add([read], held, ledger)
        found.pieces += [(number, task.trained_mask(example)) for example in held.examples]
        if ledger.outcomes["kept"] + ledger.outcomes["changed"] == before["kept"] + before["changed"]:
            held.examples.clear()
            whole.add([read], held, Ledger())
        found.lengths += [sum(map(len, held.examples))] if held.examples else []
    return found


def _window_of(kept: Callable[[int], Read], row: int, count: int) -> tuple[list[Read], int]:
    """The same of rows that were read before."""
    last = max(row, count)
    reads: list[Read] = []
    first, characters = max(0, last - count), 0
    for at in range(row - 1, first - 1, -1):  # those before it, as far as there is room
        read = kept(at)
        characters += sum(map(len, texts_of(read.record))) if read.record is not None else 0
        if reads and characters > CHARACTERS:
            first = at + 1
            break
        reads.insert(0, read)
    for at in range(row, last):
        try:
            read = kept(at)
        except IndexError:
            break
        characters += sum(map(len, texts_of(read.record))) if read.record is not None else 0
        if characters > CHARACTERS:
            break
        reads.append(read)
    return reads, first + 1


def _window(data: DataSection, row: int, count: int) -> tuple[list[Read], int]:
    """Rows up to `count` and `CHARACTERS`, with `row` among them, and the number of the first."""
    first = max(1, row - count + 1)
    reads: list[Read] = []
    size = 0
    for number, read in enumerate(itertools.islice(Reading(data), first - 1, first - 1 + count), first):
        reads.append(read)
        size += sum(map(len, texts_of(read.record))) if read.record is not None else 0
        while size > CHARACTERS and number <= row and len(reads) > 1:
            gone = reads.pop(0)
            first += 1
            size -= sum(map(len, texts_of(gone.record))) if gone.record is not None else 0
        if size > CHARACTERS:
            break
    if first + len(reads) <= row:
        raise UsageError(_("there is no row {row:,}.", row=row), where=one_line(data.path))
    return reads, first
