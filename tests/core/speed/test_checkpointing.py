"""The degrees of gradient checkpointing compute the same, and keep what they say."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.test_architectures import SHAPE
from tests.core.test_loss import FAST, SomeRows, gradients
from tests.core.ways import summed_loss
from tui_tuner.compute import attention, gradient_checkpointing, low_rank
from tui_tuner.compute.forward import lay_flat_row
from tui_tuner.compute.gradient_checkpointing import (
    ON_DEVICE,
    InputOffloader,
    checkpoint_layers,
    offload_checkpointed_inputs,
)
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES
from tui_tuner.methods import attach
from tui_tuner.methods.layers import find_layers

Train = Callable[..., Trained]
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {},
    "qwen3": {},
    "gemma3_text": {"sliding_window": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
LORA = {"kind": "lora", "dropout": 0.1}


def made(kind: str, method: dict[str, Any], degree: Any, layers: int = 5) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    shape = {**SHAPE, "num_hidden_layers": layers, **KINDS[kind]}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape))
    model.set_attn_implementation(attention.NAME)
    model = attach(model, RunConfig.model_validate({"method": method}))
    low_rank.quicken_lora(model)
    checkpoint_layers(model, degree)
    return model.train()


def computed(model: Any, rows: SomeRows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    loss = summed_loss(model, lay_flat_row(rows, [0, 1, 2]), FAST)
    loss.backward()
    return loss.detach(), gradients(model)


def checkpointed(model: Any) -> list[bool]:
    return [bool(layer.gradient_checkpointing) for layer in find_layers(model)]


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, LORA) for kind in KINDS),
        ("llama", {"kind": "full"}),
        ("gemma3_text", {"kind": "full"}),
        ("llama", {"kind": "freeze", "layers": 3}),
        ("qwen3", {"kind": "lora", "layers": 2}),
        ("llama", {"kind": "lora", "train_embeddings": True}),
        ("llama", {"kind": "dora"}),
    ],
)
def test_losses_and_gradients_are_the_same_bit_for_bit(kind: str, method: dict[str, Any]) -> None:
    rows = SomeRows([17, 5, 40], 300)
    loss, wanted = computed(made(kind, method, False), rows)
    assert wanted and any(float(gradient.abs().max()) > 0 for gradient in wanted.values())
    for degree in DEGREES[1:]:
        found, other = computed(made(kind, method, degree), rows)
        assert torch.equal(loss, found), degree
        assert wanted.keys() == other.keys()
        for name, gradient in wanted.items():
            assert torch.equal(gradient, other[name]), (degree, name)


@pytest.mark.parametrize(
    ("layers", "method", "wanted"),
    [
        (5, LORA, [False, True, False, True, False]),
        (4, LORA, [True, False, True, False]),
        (5, {"kind": "freeze", "layers": 3}, [False, False, False, True, False]),
        (1, LORA, [False]),
    ],
)
def test_every_second_layer_from_the_last_one_down(layers: int, method: Any, wanted: list[bool]) -> None:
    assert checkpointed(made("llama", method, "every_second", layers)) == wanted


@pytest.mark.parametrize("degree", DEGREES)
def test_nothing_is_computed_again_below_the_first_trained_layer(degree: Any) -> None:
    model = made("llama", {"kind": "freeze", "layers": 2}, degree)
    assert checkpointed(model)[:3] == [False] * 3
    asking: list[bool] = []
    for layer in find_layers(model):
        layer.register_forward_hook(lambda _module, _inputs, output: asking.append(output.requires_grad))
    computed(model, SomeRows([17, 5, 40], 300))
    assert asking == [False] * 3 + [True] * 2, "hooks of layers are not called again either"


class Watched(InputOffloader):
    """Counts what leaves and what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[weakref.ref[Any]] = []
        self.fetched = 0
        self.most = 0

    def _send_input(self, tensor: Any) -> Any:
        self.sent.append(weakref.ref(tensor.untyped_storage()))
        return super()._send_input(tensor)

    def _fetch_input(self, away: Any) -> None:
        self.fetched += 1
        super()._fetch_input(away)
        self.most = max(self.most, sum(one.tensor is not None for one in self._list_waiting()))


def watched(layers: int = 5) -> tuple[Any, Watched]:
    model, offload = made("llama", LORA, True, layers), Watched()
    offload_checkpointed_inputs(model, offload)
    return model, offload


def test_inputs_leave_the_device_and_come_back_one_by_one() -> None:
    model, offload = watched()
    rows = SomeRows([17, 5, 40], 300)
    loss = summed_loss(model, lay_flat_row(rows, [0, 1, 2]), FAST)
    kept = offload._list_waiting()
    assert len(kept) == len(offload.sent) == 5
    assert [away.tensor is not None for away in kept] == [False] * (5 - ON_DEVICE) + [True] * ON_DEVICE
    assert all(away.host.shape == (1, 62, 64) for away in kept)
    gc.collect()
    assert [one() is None for one in offload.sent[1:-ON_DEVICE]] == [True] * (4 - ON_DEVICE), "still held"
    del kept
    loss.backward()
    assert offload.fetched == 5 - ON_DEVICE
    assert offload.most <= ON_DEVICE
    assert not offload._list_waiting()


def test_a_pass_that_is_given_up_does_not_harm_the_next() -> None:
    rows = SomeRows([17, 5, 40], 300)
    model, offload = watched()
    _loss, wanted = computed(model, rows)
    left = summed_loss(model, lay_flat_row(rows, [1]), FAST)  # nobody goes back through this one
    first = computed(model, rows)[1]
    del left
    second = computed(model, rows)[1]
    for name, gradient in wanted.items():
        assert torch.equal(gradient, first[name]) and torch.equal(gradient, second[name]), name
    gc.collect()
    assert not offload._list_waiting()


def test_going_back_twice_through_one_pass() -> None:
    rows = SomeRows([17, 5, 40], 300)
    model, _offload = watched()
    torch.manual_seed(1)
    loss = summed_loss(model, lay_flat_row(rows, [0, 1, 2]), FAST)
    loss.backward(retain_graph=True)
    first = gradients(model)
    loss.backward()
    second = gradients(model)
    assert all(torch.equal(gradient, second[name]) for name, gradient in first.items())


def test_without_host_memory_inputs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = SomeRows([17, 5, 40], 300)
    wanted = computed(made("llama", LORA, False), rows)[1]
    model, _offload = watched()

    def none_left(_tensor: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory (cudaHostAlloc)")

    monkeypatch.setattr(gradient_checkpointing, "allocate_on_host", none_left)
    with pytest.warns(UserWarning, match="cudaHostAlloc.*stay on the GPU"):
        found = computed(model, rows)[1]
    assert all(torch.equal(gradient, found[name]) for name, gradient in wanted.items())
    assert all(torch.equal(gradient, computed(model, rows)[1][name]) for name, gradient in wanted.items())


@pytest.mark.parametrize("degree", ["every_second", "offload"])
def test_a_run_of_each_degree(make_config: MakeConfig, train: Train, degree: str, tmp_path: Path) -> None:
    plain = train(make_config(training__max_steps=2, training__gradient_checkpointing=False))
    found = train(make_config(training__max_steps=2, training__gradient_checkpointing=degree))
    assert found.outcome.status == "completed"
    assert found.steps() == plain.steps()
