"""Pack token types: which text of a pair each token belongs to, for BERT, ALBERT, ELECTRA, XLNet and others.

Types change at only a few places of a sequence, so those of an example are packed into one number, a column
of the task: up to four runs of equal types, each with its start. 0 is a sequence of a single text, and also
the result for a tokenizer that gives no types.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COLUMN = "token_types"  # a task's column with this name reaches the model
_RUNS = 4
_PLACE, _TYPE = 18, 2  # bits
LONGEST = (1 << _PLACE) - 1  # tokens before the last run
MOST = (1 << _TYPE) - 1  # the highest type


def pack_types(types: Sequence[int] | np.ndarray) -> int:
    """Pack the types of an example's tokens into one number.

    Raises:
        ValueError: more runs, higher types or a longer sequence than one number holds.
    """
    values = np.asarray(types, dtype=np.int64)
    if not values.any():
        return 0
    begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    if len(begins) > _RUNS or begins[-1] > LONGEST or values.max() > MOST or values.min() < 0:
        raise ValueError(f"token types {values[begins].tolist()} at {begins.tolist()}")
    packed = 0
    # The first run needs no start, since it begins at 0.
    for begin in reversed(begins[1:].tolist()):
        packed = (packed << _PLACE | begin) << _TYPE | int(values[begin])
    return packed << _TYPE | int(values[0])


def unpack_types(packed: int, length: int) -> np.ndarray:
    """Return the type of each token, int64 [length]."""
    packed = int(packed)
    types = np.full(length, packed & MOST, dtype=np.int64)
    packed >>= _TYPE
    while packed:
        kind, packed = packed & MOST, packed >> _TYPE
        begin, packed = packed & LONGEST, packed >> _PLACE
        types[begin:] = kind
    return types
