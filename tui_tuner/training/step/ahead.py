"""The forward passes of the next optimizer step, laid out and copied while the GPU computes this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tui_tuner.compute.forward import MicroBatch, MicroSize

Lay = Callable[[Sequence[int], MicroSize], list[MicroBatch]]


class Ahead:
    """Keeps what was made for one step, by its examples and the size of its micro-batches.

    Whatever comes next may be another step, or the same one in smaller pieces: what does not fit it is made
    anew. Nothing is drawn at random, so it does not matter when a step is laid out.

    Args:
        lay: Gives the forward passes of a step, on the device.
    """

    def __init__(self, lay: Lay) -> None:
        self._lay = lay
        self._made: tuple[tuple[int, ...], MicroSize, list[MicroBatch]] | None = None

    def take(self, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """The forward passes of a step."""
        made, self._made = self._made, None
        if made is not None and made[:2] == (tuple(rows), size):
            return made[2]
        return self._lay(rows, size)

    def prepare(self, rows: Sequence[int], size: MicroSize) -> None:
        """Make those of the step that is likely next; a failure is left to the step itself."""
        self._made = None
        try:
            self._made = (tuple(rows), size, self._lay(rows, size))
        except Exception:  # memory, or a row that cannot be read: there it is retried, or told with its place
            self._made = None
