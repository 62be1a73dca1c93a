"""Choose how an objective computes its loss: the fastest way that proves exact on rows that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tui_tuner.compute.check_rows import list_attention_windows, make_window_check_rows, shorten_rows
from tui_tuner.compute.chunks import count_chunk_rows
from tui_tuner.compute.forward import ForwardWay, Rows
from tui_tuner.compute.precision import computes_in_float32
from tui_tuner.compute.rows.row_layout import RowLayout
from tui_tuner.compute.self_check import (
    GRADIENT_ROWS,
    Checker,
    CheckResult,
    LossesOf,
    PassCount,
    find_fastest_way,
    make_plainest_way,
)
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.objectives.setup import Setup

if TYPE_CHECKING:
    import numpy as np
    from torch.nn import Module

CHECKED_ROWS = 4
LONGEST_CHECKED = 1024  # tokens
SHORTEST_CHECKED = 16  # tokens, if memory runs out on longer rows
LONGEST_GRADED = 4096  # tokens of the longest window for which gradients are compared


class WayChooser:
    """Checks ways of computing on rows of the first step and on made-up rows.

    Args:
        losses: The objective's `compute_losses`.
        plain: The objective's `compute_plain_losses`.
        laying: Lays examples out; without the lengths that rows of a run are filled to.

    Attributes:
        checker: The checker with the last rows; set by `choose_way`.
    """

    def __init__(self, setup: Setup, losses: LossesOf, plain: LossesOf, laying: RowLayout) -> None:
        self.setup, self.losses, self.plain, self.laying = setup, losses, plain, laying
        self.checker: Checker | None = None
        self._count = PassCount(self._report_progress)

    def _report_progress(self, done: int, needed: int) -> None:
        note = _("comparing fast ways to compute with plain forward passes")
        if self.setup.config.training.compile:
            note = _("compiling layers, and comparing fast ways to compute with plain forward passes")
        self.setup.voice.report_phase("loading", done, needed, note, "passes")

    def choose_way(self, wanted: ForwardWay) -> CheckResult:
        """Return the fastest way that proves exact, from the wanted one down, even if memory is short."""
        found = self._check_windows(self._check_way(wanted))
        self._count.end_count()
        return found

    def _check_way(self, wanted: ForwardWay) -> CheckResult:
        """Run `find_fastest_way`; if memory runs out, on shorter rows, then in 16 bits, and finally not at
        all.
        """
        setup = self.setup
        chosen = choose_checked_rows(setup.batches[0], setup.rows.lengths, LONGEST_CHECKED)
        labels = count_chunk_rows(_count_logits(setup.model), wanted.device)
        longest = min(LONGEST_CHECKED, max(int(setup.rows.lengths[row]) for row in chosen))
        for float32 in (True, False):
            length = longest
            while True:
                self.checker = self._make_checker(
                    shorten_rows(setup.rows, chosen, length, labels, self.laying.cut_example), float32=float32
                )
                found = self._try_check(self.checker, wanted)
                if found is not None:
                    return found
                if length < 2 * SHORTEST_CHECKED:
                    break
                length = max(SHORTEST_CHECKED, length // 4)
                setup.voice.report_log(
                    _(
                        "Memory ran out while the fast ways were checked; checking them on rows of at most "
                        "{length} tokens.",
                        length=length,
                    )
                )
            if self._own_numbers(self.checker, wanted):
                break
        return self._unchecked_way(wanted)

    def _try_check(self, checker: Checker, wanted: ForwardWay) -> CheckResult | None:
        """Run `find_fastest_way`; return None, with its memory released, if memory ran out."""
        try:
            return find_fastest_way(checker, wanted)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_attempt_memory(error)
            return None

    def _own_numbers(self, checker: Checker, way: ForwardWay) -> bool:
        """Return whether an attempt used the run's own dtype, so that 16 bits would repeat it."""
        return bool(checker.unsure) or computes_in_float32(self.setup.model, way.autocast)

    def _unchecked_way(self, wanted: ForwardWay) -> CheckResult:
        """Return the way to use if memory does not allow any check."""
        voice = self.setup.voice
        what = _(
            "Memory ran out while the fast ways to compute the loss were checked, even on very short rows."
        )
        # The way was checked when the run began, and a change would change its numbers.
        if self.setup.state:
            voice.report_warning(
                "self_check", what, _("The run continues with the way that it started with.")
            )
            return CheckResult(wanted)
        hint = _("Each sequence is computed alone, in the plainest way, which is correct but slow.")
        voice.report_warning("self_check", what, hint)
        return CheckResult(make_plainest_way(wanted), exact=False)

    def _check_windows(self, checked: CheckResult) -> CheckResult:
        """Return the same way, or a plainer one if it ignores the model's attention window.

        The rows of the first step may be shorter than a window that later ones exceed, so made-up rows are
        checked if the data has rows that long.
        """
        longest = self.setup.longest_row
        beyond = [size for size in list_attention_windows(self.setup.model) if size < longest]
        if not beyond or not (checked.exact and checked.way.packing):
            return checked
        assert self.checker is not None
        # Rows longer than the largest window are longer than the smaller ones too.
        size = beyond[-1]
        rows = make_window_check_rows(self.checker.data, size, longest)
        # From the strictest check to the one that needs least memory: without gradients, then in 16 bits.
        for graded, float32 in ((2, True), (0, True), (0, False)):
            if graded and size > LONGEST_GRADED:
                continue
            tried = self._make_checker(rows, graded, float32 and self.checker.float32)
            found = self._try_check(tried, checked.way)
            if found is not None:
                return replace(found, problem=found.problem or checked.problem, unsure=checked.unsure)
            if not graded and self._own_numbers(tried, checked.way):
                break
        plainer = self._check_way(replace(checked.way, packing=False, segments=False))
        problem = _(
            "memory ran out while rows longer than the model's window of {size} tokens were checked",
            size=size,
        )
        return replace(plainer, problem=problem)

    def _make_checker(self, rows: Rows, graded: int = GRADIENT_ROWS, float32: bool = True) -> Checker:
        import torch

        setup = self.setup
        return Checker(
            setup.model,
            rows,
            range(len(rows)),
            torch.device(setup.device.torch_name),
            setup.pad,
            self.losses,
            self.plain,
            graded=graded,
            float32=float32,
            count=self._count,
            laying=self.laying,
        )


def choose_checked_rows(batch: Sequence[int], lengths: np.ndarray, longest: int) -> list[int]:
    """Choose a few short examples of a batch, and its longest one of at most `longest` tokens."""
    rows = sorted(batch, key=lambda row: (int(lengths[row]), row))
    short, rest = rows[: CHECKED_ROWS - 1], rows[CHECKED_ROWS - 1 :]
    long = [row for row in rest if lengths[row] <= longest]
    return short + long[-1:]


def _count_logits(model: Module) -> int:
    """Return the number of logits per position, as far as the model's config states it."""
    return int(getattr(model.config.get_text_config(), "vocab_size", 0) or 1)
