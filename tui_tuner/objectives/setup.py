"""What an objective is prepared with, and what it may say into the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tui_tuner.compute.forward import Rows
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.models.device import Device


class Voice(Protocol):
    """What an objective may say into the journal (`training.watching.reporting.Reporter`)."""

    def warn(self, code: str, message: str, hint: str = "") -> None: ...
    def log(self, message: str) -> None: ...
    def phase(self, name: str, done: int = 0, total: int = 0, note: str = "", unit: str = "") -> None: ...


@dataclass
class Setup:
    """What an objective is prepared with: one model and the rows it will be trained on.

    Args:
        batches: Row numbers of the first optimizer steps.
        tokens: The most tokens that a micro-batch may have.
        pad: The token id of padding.
        state: What `state` returned in the run that is resumed; empty for a new one.
        longest_row: Tokens of the longest row that is trained or held out; 0 where all are short.
        usual: Tokens of some optimizer steps, as far as this process computes them.
    """

    model: Any
    rows: Rows
    batches: Sequence[Sequence[int]]
    config: ResolvedConfig
    device: Device
    pad: int
    tokens: int
    voice: Voice
    state: Sequence[bool] = ()
    longest_row: int = 0
    usual: Sequence[int] = ()
    tokenizer: Any = None
