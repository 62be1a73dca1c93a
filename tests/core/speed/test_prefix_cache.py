"""Hidden states below the first trained layer, read from disk: the same training, and nothing left behind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.test_session import reacting
from tests.core.ways import ExampleRows, summed_loss, token_losses
from tui_tuner.compute import attention, prefix_cache, shared_prefix
from tui_tuner.compute.forward import ForwardWay, lay_flat_row
from tui_tuner.compute.randomness import find_randomness

FAST = ForwardWay(packing=True, compact=True, segments=True)


class SomeRows(ExampleRows):
    """Rows with a common beginning; the last part is trained."""

    def __init__(self, own: list[int], head: int = 20) -> None:
        generator = np.random.default_rng(5)
        start = generator.integers(3, 300, head)
        parts = [np.concatenate([start, generator.integers(3, 300, length)]) for length in own]
        self.ids = [part.astype(np.int32) for part in parts]
        self.lengths = np.array([len(ids) for ids in self.ids])

    def __len__(self) -> int:
        return len(self.ids)

    def masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ids[index], np.arange(len(self.ids[index])) >= 24


def load(folder: Path, top: int = 1) -> Any:
    from transformers import AutoModelForCausalLM

    attention.register_attention()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    model.set_attn_implementation(attention.NAME)
    model.requires_grad_(False)
    for layer in model.model.layers[len(model.model.layers) - top :]:
        layer.requires_grad_(True)
    return model


def frozen(model: Any) -> int:
    return prefix_cache.count_frozen_layers(model, find_randomness(model).quiet)


def filled(model: Any, rows: SomeRows, folder: Path) -> prefix_cache.PrefixCache:
    cache = prefix_cache.PrefixCache(model, rows, FAST, torch.device("cpu"), frozen(model))
    cache.fill_store(folder / "states", lambda done, total: None)
    return cache


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_loss_and_gradients_are_those_of_the_whole_model(
    tiny_model: Path, tmp_path: Path, shared: bool, checkpointed: bool
) -> None:
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers

    model = load(tiny_model).train()
    if checkpointed:
        checkpoint_layers(model)
    rows = SomeRows([9, 30, 14, 6, 22])
    picked = [3, 1, 4]
    expected = summed_loss(model, lay_flat_row(rows, picked), FAST)
    expected.backward()
    wanted = gradients(model)
    cache = filled(model, rows, tmp_path)
    micro = (shared_prefix.lay_shared if shared else lay_flat_row)(rows, picked)
    assert (micro.layout is not None) == shared
    with cache.read_states(micro):
        found = summed_loss(model, micro, FAST)
        found.backward()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted.pop(name), atol=1e-5, rtol=1e-4, msg=name)
    assert not wanted


def test_the_layers_below_are_not_computed_while_reading(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    rows = SomeRows([9, 30])
    cache = filled(model, rows, tmp_path)
    calls = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    micro = lay_flat_row(rows, [0, 1])
    with cache.read_states(micro):
        inside = summed_loss(model, micro, FAST)
    assert not calls
    outside = summed_loss(model, micro, FAST)
    assert len(calls) == 1
    torch.testing.assert_close(inside, outside, atol=1e-4, rtol=1e-6)


def test_a_whole_file_is_taken_over_and_other_content_is_not(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    first = filled(model, SomeRows([9, 30]), tmp_path)
    name, content = first.file, first.store.clone()
    seen: list[int] = []
    again = prefix_cache.PrefixCache(load(tiny_model), SomeRows([9, 30]), FAST, torch.device("cpu"), 2)
    again.fill_store(tmp_path / "states", lambda done, total: seen.append(done))
    assert not seen
    assert again.file == name
    assert torch.equal(again.store, content)
    other = load(tiny_model)
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight += 0.01
    changed = filled(other, SomeRows([9, 30]), tmp_path)
    assert changed.file != name
    changed.close()
    assert not (tmp_path / "states").exists()


def test_a_file_that_would_be_too_large_is_not_begun(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_cache, "MOST_BYTES", 1000)
    found, problem = prefix_cache.make_prefix_cache(
        load(tiny_model),
        SomeRows([9, 30]),
        FAST,
        torch.device("cpu"),
        tmp_path,
        [0],
        lambda *_: None,
        token_losses,
        2,
    )
    assert found is None
    assert "bytes" in problem
    assert not list(tmp_path.iterdir())


def test_dropout_or_training_below_rules_it_out(tiny_model: Path) -> None:
    model = load(tiny_model, top=2)
    assert frozen(model) == 1
    model.model.layers[2].mlp.drop = torch.nn.Dropout(0.1)
    assert frozen(model) == 1
    model.model.layers[0].mlp.drop = torch.nn.Dropout(0.1)
    assert frozen(model) == 0
    model.model.layers[0].mlp.drop = torch.nn.Dropout(0.0)
    model.model.embed_tokens.weight.requires_grad_(True)
    assert frozen(model) == 0


def test_layers_that_need_more_than_hidden_states_are_noticed(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    kept: list[torch.Tensor] = []
    model.model.layers[0].register_forward_hook(lambda module, args, out: kept.append(out))
    rows = SomeRows([9, 30, 14])
    cache = filled(model, rows, tmp_path)
    assert not prefix_cache.check_prefix_states(cache, [0, 1, 2], token_losses)
    cache.close()

    inner = model.model.layers[2].forward

    def looks_back(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return inner(hidden + kept[-1].roll(1, dims=2), *args, **kwargs)

    model.model.layers[2].forward = looks_back
    cache = filled(model, rows, tmp_path)
    assert prefix_cache.check_prefix_states(cache, [0, 1, 2], token_losses)


@pytest.mark.parametrize(
    "method",
    [{"kind": "freeze", "layers": 1}, {"kind": "lora", "rank": 4, "layers": 1}, {"kind": "ia3", "layers": 1}],
)
def test_a_run_of_top_layers_learns_the_same(
    make_config: Any, train: Any, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    def config() -> Any:
        return make_config(method=method, training__max_steps=None, training__epochs=2)

    run = train(config())
    said = [event["message"] for event in run.sink.of("log") if "computed once" in event["message"]]
    assert len(said) == 1, run.outcome
    assert not (run.folder.path / prefix_cache.FOLDER).exists()
    monkeypatch.setattr(prefix_cache, "MOST_BYTES", 0)
    plain = train(config())
    assert any("each epoch" in event["message"] for event in plain.sink.of("log"))
    assert run.steps() == pytest.approx(plain.steps(), rel=1e-4)


def test_a_stopped_run_goes_on_with_the_same_losses(make_config: Any, train: Any) -> None:
    config = make_config(
        method={"kind": "lora", "rank": 4, "layers": 1, "dropout": 0.1},
        training__max_steps=None,
        training__epochs=2,
        training__report_every=1e-6,
    )
    whole = train(config)
    assert any("computed once" in event["message"] for event in whole.sink.of("log"))
    middle = max(whole.steps()) * 3 // 4
    stopped = train(config, before=reacting({middle: ["stop"]}))
    assert middle <= max(stopped.steps()) < max(whole.steps())
    resumed = train(config, resume=stopped.folder)
    assert any("computed once" in event["message"] for event in resumed.sink.of("log"))
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()


def test_a_forward_pass_that_was_replaced_before_is_put_back(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model).train()
    below = model.model.layers[0]
    own = below.forward = partial(type(below).forward, below)
    cache = filled(model, SomeRows([9, 30]), tmp_path)
    assert below.forward is not own
    cache.close()
    assert below.forward is own
