"""Layers as compiled regions: exact, compiled once for all layers and lengths, and left alone on failure."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoModelForCausalLM, LlamaConfig

from tui_tuner.compute import attention
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.regions import Region, _forward_layer, compile_layers, restore_layers
from tui_tuner.models.device import Device

CPU = Device("cpu")
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "vocab_size": 31}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture
def model() -> Any:
    torch._dynamo.reset()
    counters.clear()
    attention.register_attention()
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).train()
    yield made
    torch._dynamo.reset()


def step(model: Any, lengths: list[int]) -> dict[str, Any]:
    """Loss and gradients of sequences in a flat row."""
    model.zero_grad()
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    ids = (positions * 7 + 3) % 31
    out = model(
        input_ids=ids,
        position_ids=positions,
        attention_mask=ids.new_zeros((1, 1, 1, 1), dtype=bool),
        segment_lengths=lengths,
        use_cache=False,
    )
    loss = out.logits.pow(2).mean()
    loss.backward()
    return {"loss": loss.detach(), **{name: one.grad.clone() for name, one in model.named_parameters()}}


def assert_same(found: dict[str, Any], truth: dict[str, Any]) -> None:
    for name, one in truth.items():
        torch.testing.assert_close(found[name], one, rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_layers_and_lengths(model: Any) -> None:
    rows = ([3, 4], [2, 9, 5], [11])
    chosen = compile_layers(model, CPU, backend="eager")
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation(attention.NAME)
    assert (chosen.part, chosen.layers, chosen.why) == ("compile", 3, "")
    compiled = counters["stats"]["unique_graphs"]
    assert compiled
    twin = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).train()
    twin.load_state_dict(model.state_dict())
    twin.set_attn_implementation(attention.NAME)
    truths = [step(twin, row) for row in rows]
    for row, truth in zip(rows, truths, strict=True):
        assert_same(step(model, row), truth)
    checkpoint_layers(model, True)
    assert_same(step(model, rows[1]), truths[1])
    assert counters["stats"]["unique_graphs"] == compiled
    # evaluation and generation do without, and the layers' own way comes back
    with torch.no_grad():
        model.eval().generate(input_ids=torch.tensor([[3, 4, 5]]), max_new_tokens=3, do_sample=False)
    assert counters["stats"]["unique_graphs"] == compiled
    restore_layers(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


class Numbered(torch.nn.Module):
    """A layer whose code differs by what it is told."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Any) -> Any:
        return x * self.number


def test_many_variants_are_compiled_in_every_thread(model: Any) -> None:
    """PyTorch gives up on compiling after eight by itself, and says so in its own log alone."""
    region = Region(Numbered, "eager")
    layers = [Numbered(number) for number in range(2, 22)]

    def call(some: list[Numbered]) -> None:
        for layer in some:
            assert region(layer, torch.ones(3)).tolist() == [layer.number] * 3

    call(layers[:10])
    thread = threading.Thread(target=call, args=(layers[10:],))
    thread.start()
    thread.join()
    assert counters["stats"]["unique_graphs"] == 20


def test_a_layer_is_checkpointed_by_one_alone(model: Any) -> None:
    """By what stands for its forward pass, where its class does it there; else by what calls it."""

    def forward(layer: Any, x: Any) -> Any:
        return x.sin()

    @functools.wraps(forward)
    def wrapped(layer: Any, x: Any) -> Any:
        return forward(layer, x)

    for function, times in ((forward, 0), (wrapped, 1)):
        layer = type("Layer", (torch.nn.Module,), {"forward": function})()
        checkpointed: list[Any] = []
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = lambda inner, *args, seen=checkpointed: (
            seen.append(inner) or inner(*args)
        )
        _forward_layer(layer, Region(type(layer), "eager"), torch.ones(3))
        assert len(checkpointed) == times


def fails(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no such card")


def lies(graph: Any, inputs: Any) -> Any:
    """A backend that computes something else."""

    def run(*args: Any) -> Any:
        return tuple(one * 1.5 if isinstance(one, torch.Tensor) else one for one in graph.forward(*args))

    return run


@pytest.mark.parametrize(("backend", "why"), [(fails, "compiled"), (lies, "does not give")])
def test_what_fails_or_differs_is_not_used(model: Any, backend: Any, why: str) -> None:
    with pytest.warns() if backend is fails else _nothing():
        chosen = compile_layers(model, CPU, backend=backend)
    assert not chosen.kernel and why in chosen.why
    assert not any("forward" in module.__dict__ for module in model.modules())


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()
