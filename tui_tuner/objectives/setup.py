"""The data that an objective is prepared with, and its access to the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tui_tuner.compute.forward import Rows
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.locales import _
from tui_tuner.models.device import Device

if TYPE_CHECKING:
    from torch.nn import Module


class JournalVoice(Protocol):
    """Writes an objective's messages to the journal (`training.watching.reporting.Reporter`)."""

    def report_warning(self, code: str, message: str, hint: str = "") -> None: ...
    def report_log(self, message: str) -> None: ...
    def report_phase(
        self, name: str, done: int = 0, total: int = 0, note: str = "", unit: str = ""
    ) -> None: ...


@dataclass
class Setup:
    """The model, rows and settings that an objective is prepared with.

    Args:
        batches: Row numbers of the first optimizer steps.
        tokens: Most tokens of a micro-batch.
        pad: The token id of padding.
        state: The result of `Objective.way_state` in the run that is resumed; empty for a new one.
        longest_row: Tokens of the longest row, trained or held out; 0 if all are short.
        usual: Tokens of some optimizer steps, as far as this process computes them.
    """

    model: Module
    rows: Rows
    batches: Sequence[Sequence[int]]
    config: ResolvedConfig
    device: Device
    pad: int
    tokens: int
    voice: JournalVoice
    state: Sequence[bool] = ()
    longest_row: int = 0
    usual: Sequence[int] = ()
    tokenizer: Any = None


def report_filler(setup: Setup, sizes: Sequence[int], share: float | None) -> None:
    """Report the cost of filling flat rows up to a few lengths, if it is known."""
    if share is None:
        return
    setup.voice.report_log(
        _(
            "Rows are filled up to one of {count} lengths, so that the GPU sees few shapes: about "
            "{share:.1%} of the computation is filler, which no figure includes.",
            count=len(sizes),
            share=share,
        )
    )
