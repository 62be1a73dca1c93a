"""Which examples are trained on and which are held out: seeded, by whole rows, stratified by label."""

from __future__ import annotations

import numpy as np

from tui_tuner.config.schema import DataSection, Source
from tui_tuner.data.examples.store import Store, TokenizedRows
from tui_tuner.data.ledger import Ledger
from tui_tuner.locales import _


def split_examples(
    store: Store, held: Store | None, data: DataSection, ledger: Ledger
) -> tuple[TokenizedRows, TokenizedRows | None]:
    """Training and validation examples.

    A row's examples, and rows with the same content, stay on one side. Rows of a source with weight w are
    used w times an epoch: whole copies, and a seeded draw for the fraction.
    """
    rows = int(store.meta["rows"])
    outside = np.zeros(rows, dtype=bool)
    if isinstance(data.validation, float | int) and data.validation and rows > 1:
        outside = _held_rows(store, float(data.validation), data.seed)
    example_row = np.asarray(store.example["row"])
    examples = np.arange(len(example_row), dtype=np.int64)
    inside = examples[~outside[example_row]] if rows else examples
    used = _weighted(inside, example_row, store, data)
    train = TokenizedRows(store, used)
    trained_rows = len(np.unique(example_row[used]))
    left_out = len(np.unique(example_row[inside])) - trained_rows
    if left_out:
        ledger.note(
            _("{left_out:,} rows are never trained: their source has a weight below 1.", left_out=left_out)
        )
    if held is not None:
        validation: TokenizedRows | None = TokenizedRows(held, np.arange(int(held.meta["examples"])))
    else:
        chosen = examples[outside[example_row]] if rows else examples[:0]
        validation = TokenizedRows(store, chosen) if len(chosen) else None
    ledger.splits = {
        "training_rows": trained_rows,
        "validation_rows": int(held.meta["rows"]) if held is not None else int(outside.sum()),
        "training_pieces": len(train),
        "left_out_by_weight": left_out,
        "validation_pieces": len(validation) if validation is not None else 0,
    }
    return train, validation


def _held_rows(store: Store, share: float, seed: int) -> np.ndarray:
    """A mask over rows: of each label (without labels all rows are one class) its share; at least one in all.

    Rows of equal content count as one group, so what is held out is never trained.
    """
    content = np.asarray(store.row["content"])
    labels = np.asarray(store.row["stratum"])
    _unused, first, group, sizes = np.unique(
        content, return_index=True, return_inverse=True, return_counts=True
    )
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(first), dtype=bool)
    group_label = labels[first]
    for label in np.unique(group_label):
        groups = np.flatnonzero(group_label == label)
        # In the order of the file first, so that the draw does not depend on hash values.
        groups = groups[np.argsort(first[groups], kind="stable")]
        order = random.permutation(groups)
        wanted = round(share * int(sizes[groups].sum()))
        before = np.concatenate(([0], np.cumsum(sizes[order])[:-1]))
        chosen[order[before + sizes[order] <= max(wanted, 0)]] = True
    if group_label.any():
        _draw_more(chosen, sizes, round(share * len(group)), random)
    if not chosen.any() and len(first) > 1:
        chosen[random.integers(len(first))] = True
    return chosen[group]


def _draw_more(chosen: np.ndarray, sizes: np.ndarray, wanted: int, random: np.random.Generator) -> None:
    """Draw from all labels what their own shares have left open, in place.

    Labels of very few rows have a share of none, and where labels are numbers most of them are such.
    """
    missing = wanted - int(sizes[chosen].sum())
    if 2 * missing <= wanted:
        return
    for place in random.permutation(np.flatnonzero(~chosen)):
        if sizes[place] <= missing:
            chosen[place] = True
            missing -= int(sizes[place])


def _weighted(examples: np.ndarray, example_row: np.ndarray, store: Store, data: DataSection) -> np.ndarray:
    paths = data.path if isinstance(data.path, list) else [data.path]
    weights = np.array([item.weight if isinstance(item, Source) else 1.0 for item in paths])
    if (weights == 1).all():
        return examples
    weight = weights[np.asarray(store.row["source"])]
    draw = np.random.default_rng(data.seed + 1).random(len(weight))
    copies = np.floor(weight).astype(np.int64) + (draw < weight - np.floor(weight))
    return np.repeat(examples, copies[example_row[examples]])
