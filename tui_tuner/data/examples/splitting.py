"""Split examples into trained and held-out ones: seeded, by whole rows, stratified by label."""

from __future__ import annotations

import numpy as np

from tui_tuner.config.schema import DataSection, Source
from tui_tuner.data.examples.store import TokenizedRows, TokenStore
from tui_tuner.data.ledger import Ledger
from tui_tuner.locales import _


def split_examples(
    store: TokenStore, held: TokenStore | None, data: DataSection, ledger: Ledger
) -> tuple[TokenizedRows, TokenizedRows | None]:
    """Return the training and the validation examples.

    A row's examples, and rows with the same content, stay on one side. Rows of a source with weight w are
    used w times in an epoch: as whole copies, and by a seeded draw for the fraction.
    """
    rows = int(store.meta["rows"])
    outside = np.zeros(rows, dtype=bool)
    if isinstance(data.validation, float | int) and data.validation and rows > 1:
        outside = _draw_held_rows(store, float(data.validation), data.seed)
    example_row = np.asarray(store.example["row"])
    examples = np.arange(len(example_row), dtype=np.int64)
    inside = examples[~outside[example_row]] if rows else examples
    used = _repeat_by_weight(inside, example_row, store, data)
    train = TokenizedRows(store, used)
    trained_rows = len(np.unique(example_row[used]))
    left_out = len(np.unique(example_row[inside])) - trained_rows
    if left_out:
        ledger.add_note(
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


def _draw_held_rows(store: TokenStore, share: float, seed: int) -> np.ndarray:
    """Draw held-out rows, bool [rows]: the share of each label (all rows are one class without labels).

    At least one row is drawn. Rows of equal content are one group, so held-out texts are never trained.
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
        # Sorted by their order in the file, so that the draw does not depend on hash values.
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
    """Draw rows of any label until the share is reached, in place.

    The share of a label with very few rows rounds to none; if labels are numbers, most are of that kind.
    """
    missing = wanted - int(sizes[chosen].sum())
    # Small rounding errors are left alone: correcting them would change the balance of the labels.
    if 2 * missing <= wanted:
        return
    for place in random.permutation(np.flatnonzero(~chosen)):
        if sizes[place] <= missing:
            chosen[place] = True
            missing -= int(sizes[place])


def _repeat_by_weight(
    examples: np.ndarray, example_row: np.ndarray, store: TokenStore, data: DataSection
) -> np.ndarray:
    paths = data.path if isinstance(data.path, list) else [data.path]
    weights = np.array([item.weight if isinstance(item, Source) else 1.0 for item in paths])
    if (weights == 1).all():
        return examples
    weight = weights[np.asarray(store.row["source"])]
    # Another seed than that of the split, so that the two draws do not go together.
    draw = np.random.default_rng(data.seed + 1).random(len(weight))
    copies = np.floor(weight).astype(np.int64) + (draw < weight - np.floor(weight))
    return np.repeat(examples, copies[example_row[examples]])
