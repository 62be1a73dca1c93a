"""Lay out and copy the forward passes of the next optimizer step while the GPU computes this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tui_tuner.compute.forward import MicroBatch, MicroSize, Rows

Lay = Callable[[Rows, Sequence[int], MicroSize], list[MicroBatch]]


class Ahead:
    """Holds the passes prepared for one step, known by its rows, examples and micro-batches.

    The next step may turn out to be a different one, or the same one in smaller pieces: passes that do not
    match are made again. Nothing is drawn at random, so it does not matter when a step is laid out.

    Args:
        lay: Returns the forward passes of a step, on the device.
    """

    def __init__(self, lay: Lay) -> None:
        self._lay = lay
        self._made: tuple[Rows, tuple[int, ...], MicroSize, list[MicroBatch]] | None = None

    def take_step(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """Return the forward passes of a step: the prepared ones if they match, else new ones.

        Args:
            data: The rows as the step's epoch reads them; other epochs have other ones.
        """
        # Handed over, not kept: a reference here would hold the step's tensors even after memory ran out.
        made, self._made = self._made, None
        if made is not None and made[0] is data and made[1:3] == (tuple(rows), size):
            return made[3]
        return self._lay(data, rows, size)

    def prepare_step(self, data: Rows, rows: Sequence[int], size: MicroSize) -> None:
        """Prepare the step that is likely to be next. A failure is ignored: the step itself will raise it."""
        # Frees the memory of passes that were never taken before new ones are allocated.
        self._made = None
        try:
            self._made = (data, tuple(rows), size, self._lay(data, rows, size))
        # Out of memory, or an unreadable row. `take_step` runs into it again, inside the step, where it is
        # retried with smaller passes or reported with the place of the row.
        except Exception:
            self._made = None
