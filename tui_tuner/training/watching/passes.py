"""The fullest forward passes of a run so far, which decide about its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pass:
    """The size of a forward pass, and what lay beside it in memory.

    Args:
        sequences: Rows of the model's input; 1 where examples lie side by side.
        length: Tokens of each, padding included.
        targets: Positions with a label.
        states: The optimizer's states were there, as they are from its first step on.
        accumulating: Gradients of an earlier pass of the same step were there.
    """

    sequences: int
    length: int
    targets: int
    states: bool = True
    accumulating: bool = False

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.sequences * self.length


class Passes:
    """Keeps the fullest pass of each kind that memory tells apart: with or without states and gradients.

    The fullest of a kind has the tokens of the one with most, and the targets of the one with most.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[bool, bool], Pass] = {}

    def remember(self, seen: Pass) -> None:
        """Keep a pass if it is fuller than those of its kind before it."""
        kind = (seen.states, seen.accumulating)
        kept = self._kept.get(kind)
        if kept is not None:
            fuller, most = max(seen, kept, key=lambda one: one.tokens), max(seen.targets, kept.targets)
            seen = replace(fuller, targets=most)
        self._kept[kind] = seen

    def fullest(self) -> list[Pass]:
        """One pass of each kind that there was."""
        return list(self._kept.values())
