"""Which way an objective computes its loss: the fastest that proves exact on rows that the memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tui_tuner.compute.check_rows import reach_beyond, shorten, windows
from tui_tuner.compute.chunks import chunk_rows
from tui_tuner.compute.forward import ForwardWay, Rows
from tui_tuner.compute.precision import computes_in_float32
from tui_tuner.compute.self_check import (
    GRADIENT_ROWS,
    Checked,
    Checker,
    LossesOf,
    PassCount,
    plainest,
    self_check,
)
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.objectives.setup import Setup

CHECKED_ROWS = 4
LONGEST_CHECKED = 1024  # tokens
SHORTEST_CHECKED = 16  # tokens, where memory runs out on longer rows
LONGEST_GRADED = 4096  # tokens of a window; beyond longer ones no gradients are compared


class Chooser:
    """Tries ways on rows of the first step, and on made-up ones.

    Args:
        losses: The objective's.
        plain: The same for a single example, in the most plain way.

    Attributes:
        checker: With the rows that were tried last; `choose` makes it.
    """

    def __init__(self, setup: Setup, losses: LossesOf, plain: LossesOf) -> None:
        self.setup, self.losses, self.plain = setup, losses, plain
        self.checker: Checker | None = None
        self._count = PassCount(self._say)

    def _say(self, done: int, needed: int) -> None:
        note = _("trying the fast ways to compute against plain forward passes")
        if self.setup.config.training.compile:
            note = _("compiling layers, and trying the fast ways to compute against plain forward passes")
        self.setup.voice.phase("loading", done, needed, note, "passes")

    def choose(self, wanted: ForwardWay) -> Checked:
        """The fastest way, beginning with the wanted one, that proves exact. No lack of memory ends this."""
        found = self._check_windows(self._check(wanted))
        self._count.end()
        return found

    def _check(self, wanted: ForwardWay) -> Checked:
        """`self_check`; where memory runs out, on shorter rows, then in 16 bits, and last not at all."""
        setup = self.setup
        chosen = checked_rows(setup.batches[0], setup.rows.lengths, LONGEST_CHECKED)
        labels = chunk_rows(_vocabulary(setup.model), wanted.device)
        longest = min(LONGEST_CHECKED, max(int(setup.rows.lengths[row]) for row in chosen))
        for float32 in (True, False):
            length = longest
            while True:
                self.checker = self._make(shorten(setup.rows, chosen, length, labels), float32=float32)
                found = self._try(self.checker, wanted)
                if found is not None:
                    return found
                if length < 2 * SHORTEST_CHECKED:
                    break
                length = max(SHORTEST_CHECKED, length // 4)
                setup.voice.log(
                    _(
                        "Memory ran out while the fast ways were tried; they are tried on rows of at most "
                        "{length} tokens.",
                        length=length,
                    )
                )
            if self._own_numbers(self.checker, wanted):
                break
        return self._untried(wanted)

    def _try(self, checker: Checker, wanted: ForwardWay) -> Checked | None:
        """`self_check`; None where memory ran out, all that it held let go of."""
        try:
            return self_check(checker, wanted)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_memory_of(error)
            return None

    def _own_numbers(self, checker: Checker, way: ForwardWay) -> bool:
        """Whether an attempt was in the run's own numbers, so that one in 16 bits would be the same again."""
        return bool(checker.unsure) or computes_in_float32(self.setup.model, way.autocast)

    def _untried(self, wanted: ForwardWay) -> Checked:
        """What is taken where memory does not allow any check."""
        voice = self.setup.voice
        what = _(
            "Memory ran out while the fast ways to compute the loss were tried, even on very short rows."
        )
        if self.setup.state:  # it proved right when the run began
            voice.warn("self_check", what, _("The run continues by the way that it was begun with."))
            return Checked(wanted)
        hint = _("Each sequence is computed alone, in the most plain way, which is right and slow.")
        voice.warn("self_check", what, hint)
        return Checked(plainest(wanted), exact=False)

    def _check_windows(self, checked: Checked) -> Checked:
        """The same way, or a plainer one where it does not end attention at the window that the model has.

        The rows of the first step may all be shorter than a window that later ones exceed, so made-up rows
        are tried, where the data has rows that long.
        """
        longest = self.setup.longest_row
        beyond = [size for size in windows(self.setup.model) if size < longest]
        if not beyond or not (checked.exact and checked.way.packing):
            return checked
        assert self.checker is not None
        size = beyond[-1]  # what lies beyond it lies beyond the smaller ones too
        rows = reach_beyond(self.checker.data, size, longest)
        for graded, float32 in ((2, True), (0, True), (0, False)):
            if graded and size > LONGEST_GRADED:
                continue
            tried = self._make(rows, graded, float32 and self.checker.float32)
            found = self._try(tried, checked.way)
            if found is not None:
                return replace(found, problem=found.problem or checked.problem, unsure=checked.unsure)
            if not graded and self._own_numbers(tried, checked.way):
                break
        plainer = self._check(replace(checked.way, packing=False, segments=False))
        problem = _(
            "memory ran out while rows longer than the model's window of {size} tokens were tried", size=size
        )
        return replace(plainer, problem=problem)

    def _make(self, rows: Rows, graded: int = GRADIENT_ROWS, float32: bool = True) -> Checker:
        import torch

        setup = self.setup
        return Checker(
            setup.model,
            rows,
            range(len(rows)),
            torch.device(setup.device.place),
            setup.pad,
            self.losses,
            self.plain,
            graded=graded,
            float32=float32,
            limit=setup.config.data.max_length,
            count=self._count,
        )


def checked_rows(batch: Sequence[int], lengths: Any, longest: int) -> list[int]:
    """A few short examples of a batch, and its longest one of at most `longest` tokens, shortest first."""
    rows = sorted(batch, key=lambda row: (int(lengths[row]), row))
    short, rest = rows[: CHECKED_ROWS - 1], rows[CHECKED_ROWS - 1 :]
    long = [row for row in rest if lengths[row] <= longest]
    return short + long[-1:]


def _vocabulary(model: Any) -> int:
    """Logits of a position, as far as the model's config tells."""
    return int(getattr(model.config.get_text_config(), "vocab_size", 0) or 1)
