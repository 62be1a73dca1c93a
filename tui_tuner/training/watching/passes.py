"""Keep the fullest forward passes of a run so far, which determine its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pass:
    """The size of a forward pass, and what else was in memory.

    Args:
        sequences: Rows of the model's input; 1 if examples are packed into one row.
        length: Tokens of each row, padding included.
        targets: Positions with a label.
        states: The optimizer's states existed, as they do from its first step on.
        accumulating: Gradients of an earlier pass of the same step existed.
    """

    sequences: int
    length: int
    targets: int
    states: bool = True
    accumulating: bool = False

    @property
    def token_count(self) -> int:
        return self.sequences * self.length


class Passes:
    """Keeps the fullest pass of each kind: with or without optimizer states and earlier gradients.

    The fullest of a kind combines the most tokens and the most targets that any of its passes had.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[bool, bool], Pass] = {}

    def remember_pass(self, seen: Pass) -> None:
        """Keep a pass if it is fuller than those of its kind before it."""
        kind = (seen.states, seen.accumulating)
        kept = self._kept.get(kind)
        if kept is not None:
            fuller, most = max(seen, kept, key=lambda one: one.token_count), max(seen.targets, kept.targets)
            seen = replace(fuller, targets=most)
        self._kept[kind] = seen

    def list_fullest(self) -> list[Pass]:
        """Return one pass of each kind that occurred."""
        return list(self._kept.values())
