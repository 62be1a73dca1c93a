"""However a run ends, nothing of it stays in the memory of this process, or of the device that it was on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tests.core.memory.limited import Memory
from tests.core.survive.test_out_of_memory import Injected
from tests.core.test_session import reacting

Train = Callable[..., Trained]
SMALL = 4096  # bytes: masks and bounds that are kept for whoever needs them next


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Weak references to models that runs load, and to their parameters. Only the run itself collects."""
    from tui_tuner.training import train as module

    inner = module.load_trainable
    found: list[Any] = []

    def load_trainable(*args: Any, **kwargs: Any) -> Any:
        model = inner(*args, **kwargs)
        found.extend(weakref.ref(part) for part in (model, *model.parameters()))
        return model

    monkeypatch.setattr(module, "load_trainable", load_trainable)
    gc.collect()
    gc.disable()
    yield found
    gc.enable()


def fails_at(step: int) -> Callable[[str], None]:
    seen: list[str] = []

    def probe(place: str) -> None:
        seen.append(place)
        if seen.count("backward") >= step:
            raise ValueError("something nobody foresaw")

    return probe


def end_well(config: MakeConfig, train: Train, patch: pytest.MonkeyPatch) -> Trained:
    return train(config(training__max_steps=2, evaluation__samples=1, evaluation__max_new_tokens=2))


def end_by_a_stop(config: MakeConfig, train: Train, patch: pytest.MonkeyPatch) -> Trained:
    return train(config(training__max_steps=3, training__report_every=1e-6), before=reacting({2: ["stop"]}))


def end_by_an_error(config: MakeConfig, train: Train, patch: pytest.MonkeyPatch) -> Trained:
    from tui_tuner.training.step import recovery

    inner, probe = recovery.Recovery.__init__, fails_at(3)

    def with_probe(instance: Any, *args: Any) -> None:
        inner(instance, *args)
        instance.probe = probe

    patch.setattr(recovery.Recovery, "__init__", with_probe)
    return train(config())


def end_for_want_of_memory(config: MakeConfig, train: Train, patch: pytest.MonkeyPatch) -> Trained:
    Injected(patch, "backward", at=4, times=1000)
    return train(config(evaluation__every=None))


ENDS = {
    end_well: "completed",
    end_by_a_stop: "stopped",
    end_by_an_error: "failed",
    end_for_want_of_memory: "failed",
}


@pytest.mark.parametrize("end", ENDS)
def test_after_a_run(
    end: Any, make_config: MakeConfig, train: Train, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Memory() as memory:
        run = end(make_config, train, patch)
    assert run.outcome.status == ENDS[end], run.outcome
    assert memory.peak > 100 * SMALL
    assert models and not any(reference() is not None for reference in models)
    assert memory.live < SMALL


def test_after_a_range_test_that_fails(
    make_config: MakeConfig, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.range_test import run_range_test
    from tui_tuner.training.step.engine import Engine

    inner = Engine.train_step

    def train_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.step == 1:
            raise ValueError("something nobody foresaw")
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "train_step", train_step)
    with Memory() as memory, pytest.raises(ValueError, match="nobody foresaw") as raised:
        run_range_test(make_config(), 1e-6, 1e-3, 3)
    assert raised.value.__traceback__ is not None
    assert models and not any(reference() is not None for reference in models)
    assert memory.live < SMALL, "while the error is still known"
