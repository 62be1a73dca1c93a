"""Nothing on the step path asks the device for a number: on a GPU, each question waits for all its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import MakeConfig, Trained
from tui_tuner.training.step.engine import Engine

Train = Callable[..., Trained]
ASKS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
}


class Questions(TorchDispatchMode):
    """Counts operations whose result, or its shape, must be known on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        masked = name.startswith("aten.index.Tensor") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in ASKS or masked:
            self.asked[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method__kind": "full"},
        {"training__gradient_checkpointing": True},
        {"model__quantization": "nf4"},
    ],
    ids=["lora", "full", "checkpointing", "nf4"],
)
def test_a_step_asks_for_no_number(
    changes: dict[str, Any], make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[Counter[str]] = []
    inner = Engine.compute_gradients

    def compute_gradients(*args: Any, **kwargs: Any) -> Any:
        with Questions() as mode:
            loss = inner(*args, **kwargs)
        questions.append(mode.asked)
        return loss

    monkeypatch.setattr(Engine, "compute_gradients", compute_gradients)
    train(make_config(training__max_steps=3, training__micro_batch=2, **changes))
    assert len(questions) == 3
    assert not any(questions), questions


def test_the_counter_counts() -> None:
    values = torch.arange(4.0)
    with Questions() as mode:
        values[values > 1].sum().item()
    assert len(mode.asked) == 2
