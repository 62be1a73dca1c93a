"""Which of two texts a token belongs to, as models with token types count it: 0, then 1, and 2 after that.

Types only ever go up within an example, so two places say all of them, and an example keeps those as columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import N_

# The first token of type 1 or more, and the first of type 2; 0 where there is none
TYPE_COLUMNS = {"second": "int32", "third": "int32"}


def type_columns(types: Sequence[int] | None) -> dict[str, int]:
    """The columns of an example whose tokens have these types; all 0 where a tokenizer gives none.

    Raises:
        RowProblem: the types go down again.
    """
    found = {"second": 0, "third": 0}
    if types is None or not any(types):
        return found
    values = np.asarray(types)
    if (np.diff(values) < 0).any() or values[0] or values.max() > 2:
        raise RowProblem(N_("the tokenizer numbers its texts in an order that is not known"))
    found["second"] = int(np.argmax(values >= 1))
    found["third"] = int(np.argmax(values >= 2)) if values.max() == 2 else 0
    return found


def types_of(columns: Mapping[str, Any], length: int) -> np.ndarray | None:
    """Types of the tokens of an example, int64 [length]; None where all are of type 0."""
    places = [int(columns.get(name, 0)) for name in TYPE_COLUMNS]
    if not any(places):
        return None
    types = np.zeros(length, dtype=np.int64)
    for place in places:
        if place:
            types[place:] += 1
    # a text without tokens of type 1 goes from 0 to 2 at once, and both places are the same
    return types
