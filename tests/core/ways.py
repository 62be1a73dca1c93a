"""What tests of the loss share: examples made on the spot, and the causal objective by one way or another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tui_tuner.compute import shared_check
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, Rows
from tui_tuner.compute.self_check import Checker, CheckResult, find_fastest_way
from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Example, make_next_token_labels
from tui_tuner.models.device import Device
from tui_tuner.objectives.causal import CausalObjective
from tui_tuner.objectives.setup import Setup


class ExampleRows:
    """Examples from `masked(i)`: ids, and which of them are trained."""

    lengths: np.ndarray

    def masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        ids, trained = self.masked(index)
        return Example(ids, make_next_token_labels(ids, trained))

    @property
    def trained_tokens(self) -> np.ndarray:
        return np.array([self[row].trained_tokens for row in range(len(self))])


class Silent:
    """A voice that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def report_warning(self, code: str, message: str, hint: str = "") -> None:
        self.said.append(f"{code}: {message}")

    def report_log(self, message: str) -> None:
        self.said.append(message)

    def report_phase(self, name: str, done: int = 0, total: int = 0, note: str = "", unit: str = "") -> None:
        pass


def objective(way: ForwardWay) -> CausalObjective:
    found = CausalObjective(RunConfig())
    found.way = way
    return found


def prepared(
    model: Any,
    data: Rows,
    batches: Sequence[Sequence[int]],
    tokens: int,
    dtype: str = "float32",
    **more: Any,
) -> tuple[CausalObjective, Silent]:
    """The causal objective, prepared as a run does it, and what it said; `more` is for its `Setup`."""
    config = build_config({"training": {"autocast": False}, "model": {"dtype": dtype}})
    found, voice = CausalObjective(config), Silent()
    found.prepare_way(Setup(model, data, batches, config, Device("cpu"), 0, tokens, voice, **more))
    return found, voice


def summed_loss(model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
    return objective(way).sum_losses(model, micro)


def token_losses(model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
    return objective(way).compute_losses(model, micro, way)


def batches(data: Rows, rows: Sequence[int], size: MicroSize, way: ForwardWay) -> list[MicroBatch]:
    return objective(way).lay_batches(data, rows, size)


def checker(model: Any, data: Rows, rows: Sequence[int], pad: int = 0) -> Checker:
    causal = CausalObjective(RunConfig())
    return Checker(
        model, data, rows, torch.device("cpu"), pad, causal.compute_losses, causal.compute_plain_losses
    )


def check_ways(model: Any, data: Rows, rows: Sequence[int], wanted: ForwardWay, pad: int = 0) -> CheckResult:
    return find_fastest_way(checker(model, data, rows, pad), wanted)


def shares_exactly(model: Any, data: Rows, rows: Sequence[int], way: ForwardWay) -> bool:
    return not shared_check.check_shared(checker(model, data, rows), way)


def with_chunks(model: Any, data: Rows, rows: Sequence[int], way: ForwardWay, most: int) -> ForwardWay:
    """The way, with chunks where the causal objective takes them for micro-batches of `most` tokens."""
    found = objective(way)
    found._checker = checker(model, data, rows)
    found._choose_chunks(Setup(model, data, [list(rows)], RunConfig(), way.device, 0, most, Silent()))
    return found.way
