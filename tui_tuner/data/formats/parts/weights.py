"""Read weights of losses: of whole rows (`data.loss_weight`), and of single turns."""

from __future__ import annotations

import math
from typing import Any

# Other numbers would only be rounding in the sums of float32, beside weights near 1.
LEAST, MOST = 1e-6, 1e6


def parse_weight(value: Any) -> float | None:
    """Return a weight, 0 or from `LEAST` to `MOST`; None for any other value. true and false are 1 and 0."""
    if isinstance(value, str):
        # Tables of text keep numbers as text; words such as "inf" are refused below.
        try:
            value = float(value.strip())
        except ValueError:
            return {"true": 1.0, "false": 0.0}.get(value.strip().lower())
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if value == 0 or LEAST <= value <= MOST else None
