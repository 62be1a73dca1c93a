"""cuDNN's attention, which plans anew for each length, is off before any model is on a GPU."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tui_tuner.models import device as devices
from tui_tuner.models import loading
from tui_tuner.models.device import Device
from tui_tuner.training.load_run import list_run_models, load_run

PACKAGE = Path(loading.__file__).parents[1]
Train = Callable[..., Trained]


@pytest.fixture
def switched_on() -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_loading_for_a_gpu_switches_it_off(
    switched_on: None, monkeypatch: pytest.MonkeyPatch, make_config: MakeConfig
) -> None:
    seen: list[bool] = []

    def made(*_: Any) -> str:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return "a model"

    monkeypatch.setattr(devices, "find_device", lambda place: Device("cuda", capability=(9, 0)))
    monkeypatch.setattr(loading, "_load_model", made)
    assert loading.load_model(make_config(), "cpu") == "a model"
    assert loading.load_model(make_config(), "cuda:0") == "a model"
    assert seen == [True, False]
    # the others stay, for they know any length
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()


def test_every_model_of_a_run_is_loaded_there(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, and whatever loads a run's model: its base with an adapter, and a checkpoint."""
    places: list[str] = []
    monkeypatch.setattr(loading, "prepare_device", places.append)
    run = train(make_config(training__max_steps=1, output__save_every=1))
    assert run.outcome.status == "completed", run.outcome
    assert places == ["cpu"]
    for which in list_run_models(run.folder):
        places.clear()
        load_run(run.folder, which, "cpu")
        assert places == ["cpu"], which


def test_nothing_else_makes_a_model() -> None:
    """Tracing computes nothing, and peft's wrapper is put around a model that was loaded there.

    A merge makes a model without memory, and what proves an export loads it as others do, in a process
    of its own.
    """
    makers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if node.func.attr in ("from_pretrained", "from_config") and not owner.endswith(
                    ("Config", "Tokenizer", "ChatEncoder")
                ):
                    makers.add((path.relative_to(PACKAGE).as_posix(), owner))
    assert makers == {
        ("models/loading.py", "getattr(transformers, auto_class)"),
        ("methods/peft_method.py", "PeftModel"),
        ("training/tracing/built.py", "getattr(transformers, request['auto_class'])"),
        ("training/tracing/step.py", "getattr(transformers, auto_class)"),
        ("exporting/merging/skeleton.py", "getattr(transformers, task.auto_class)"),
        ("exporting/gguf/reading_back.py", "AutoModelForCausalLM"),
        ("exporting/onnx/tracing.py", "kind"),
        ("exporting/parity/transformers_side.py", "kind"),
        ("exporting/parity/transformers_side.py", "PeftModel"),
    }
