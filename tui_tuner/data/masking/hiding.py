"""Choose tokens of an example and hide them, by the rule of BERT (arXiv 1810.04805, section 3.1).

An example of which nothing is hidden yet has the number of a unit as its label at each position that may be
chosen: units are tokens, or whole words. Afterwards the labels are the tokens that were there, at the chosen
positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.data.masking.special_tokens import SpecialTokens
from tui_tuner.data.records import IGNORE, Example

TO_MASK, TO_RANDOM = 0.8, 0.1  # the rest of the chosen tokens stays as it is
# Keeps these draws apart from others that begin with the same seed
_PURPOSE = 0x6D61736B


@dataclass(frozen=True, eq=False)
class HidingRule:
    """What hiding tokens needs to know of a config and a tokenizer.

    Args:
        share: Of the tokens that may be chosen, 0 to 1.
        mask: The id of the mask token.
        words: [n] int32: ids that may take the place of a token, which special tokens may not.
    """

    share: float
    mask: int
    words: np.ndarray


def make_hiding_rule(share: float, tokenizer: Any, vocabulary: int | None = None) -> HidingRule:
    """Return how tokens are hidden with a tokenizer that has a mask token.

    Args:
        vocabulary: The number of tokens that the model has embeddings for; None if it has one for each.
    """
    special = SpecialTokens(tokenizer)
    assert special.mask is not None
    return HidingRule(share, special.mask, special.list_words(vocabulary))


def make_generator(seed: int, row: int, epoch: int | None) -> np.random.Generator:
    """Make the generator of a row in an epoch; None is for held-out rows, which have one mask for good."""
    # Counted from 1, as SeedSequence cannot tell a last 0 from nothing.
    key = [_PURPOSE, seed, row, 0 if epoch is None else epoch + 1]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def choose_units(units: np.ndarray, share: float, chance: np.random.Generator) -> np.ndarray:
    """Choose whole units with an expected `share` of the tokens.

    Units are taken in a random order until their tokens are `share` of all. The one that would exceed it is
    taken with the chance that makes the expected number exact. If that leaves none, the first is taken: an
    example without a target would be read for nothing. So more than the share is chosen of an example with
    fewer than 1 / share tokens.

    Args:
        units: int [n], rising: the unit of each token.

    Returns:
        bool [n].
    """
    if not len(units):
        return np.zeros(0, dtype=bool)
    starts = np.flatnonzero(np.diff(units, prepend=units[0] - 1))
    sizes = np.diff(starts, append=len(units))
    order = chance.permutation(len(sizes))
    taken = np.cumsum(sizes[order])
    wanted = share * len(units)
    whole = int(np.searchsorted(taken, wanted, side="right"))
    if whole < len(order):
        before = int(taken[whole - 1]) if whole else 0
        whole += chance.random() < (wanted - before) / sizes[order[whole]]
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[: max(1, whole)]] = True
    return np.repeat(chosen, sizes)


def hide_tokens(example: Example, rule: HidingRule, chance: np.random.Generator) -> Example:
    """Return the example with some tokens hidden, and these tokens as its labels."""
    places = np.flatnonzero(example.labels != IGNORE)
    places = places[choose_units(example.labels[places], rule.share, chance)]
    ids, labels = example.ids.copy(), np.full_like(example.labels, IGNORE)
    labels[places] = ids[places]
    kind = chance.random(len(places))
    ids[places[kind < TO_MASK]] = rule.mask
    replaced = places[(kind >= TO_MASK) & (kind < TO_MASK + TO_RANDOM)]
    ids[replaced] = rule.words[chance.integers(len(rule.words), size=len(replaced))]
    return Example(ids, labels, example.columns, example.weights)
