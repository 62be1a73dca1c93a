"""The loss of a mixture's router is the one that the model itself would add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.conftest import MakeConfig, Trained
from tests.core import ways
from tests.core.test_architectures import SHAPE
from tests.core.test_loss import SomeRows, gradients, padded
from tests.core.ways import Silent
from tui_tuner.compute import attention, chunked_loss, chunks
from tui_tuner.compute.forward import MicroSize
from tui_tuner.compute.router_loss import find_router_coefficient

Train = Callable[..., Trained]
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "jetmoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 16},
}
COEFFICIENT = 0.5  # so that it weighs


def mixture(kind: str, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    name = "aux_loss_coef" if kind == "jetmoe" else "router_aux_loss_coef"
    settings = {name: COEFFICIENT, "output_router_logits": True, **MIXTURES[kind], **more}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **settings}))
    with torch.no_grad():
        # Older versions do not do what the config asks for.
        if (
            model.config.output_router_logits
            and not model(torch.ones((1, 2), dtype=torch.long)).router_logits
        ):
            pytest.skip(f"transformers {transformers.__version__} computes no router loss for {kind}")
    return model


def prepared(model: Any, rows: SomeRows) -> tuple[Any, Silent]:
    return ways.prepared(model, rows, [list(range(len(rows)))], 200)


def models_own(model: Any, rows: SomeRows) -> Any:
    """The loss that transformers gives for a padded batch with labels."""
    ids, mask, labels = padded(rows, list(range(len(rows))))
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("kind", MIXTURES)
def test_loss_and_gradients_are_the_models_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture(kind)
    rows = SomeRows([17, 9, 23], 300)
    causal, voice = prepared(model, rows)
    assert causal.way.router == COEFFICIENT == find_router_coefficient(model)
    assert any("router is added with the coefficient 0.5" in line for line in voice.said), voice.said
    model.train()
    expected = models_own(model, rows)
    expected.backward()
    wanted = gradients(model)
    monkeypatch.setattr(chunks, "LEAST_ROWS", 8)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 1)
    assert chunked_loss.count_chunk_rows(300, "cpu") == 8
    flat = causal.way
    for way in (flat, replace(flat, chunked=True), replace(flat, packing=False, segments=False)):
        causal.way = way
        causal.begin_step()
        (micro,) = causal.lay_batches(rows, [0, 1, 2], MicroSize(3, 100))
        loss = causal.sum_losses(model, micro) / micro.trained_tokens
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5), way
        assert 0.5 < float(causal.step_metrics()["router_loss"]) < 3
        found = gradients(model)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3, msg=f"{name}, {way}")


def test_without_the_config_asking_nothing_is_added() -> None:
    model = mixture("mixtral", output_router_logits=False)
    causal, voice = prepared(model, SomeRows([17, 9, 23], 300))
    assert causal.way.router == 0 and not voice.said and not causal.step_metrics()


def test_a_model_that_adds_it_in_another_way_is_left_without_and_it_is_said() -> None:
    model = mixture("mixtral")
    inner = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = inner(*args, **kwargs)
        if kwargs.get("labels") is not None:
            output.loss = output.loss + output.aux_loss
        return output

    model.forward = forward
    causal, voice = prepared(model, SomeRows([17, 9, 23], 300))
    assert causal.way.router == 0
    assert any(
        line.startswith("router_loss") and "differs from the model's own" in line for line in voice.said
    )


def test_a_run_trains_with_it(
    make_config: MakeConfig, train: Train, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    special = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    mixture("qwen3_moe", vocab_size=len(tiny_tokenizer), **special).save_pretrained(tmp_path / "mixture")
    tiny_tokenizer.save_pretrained(tmp_path / "mixture")

    def run(checkpointing: bool) -> list[dict[str, Any]]:
        config = make_config(
            model={"name": str(tmp_path / "mixture"), "dtype": "float32"},
            method={"kind": "full"},
            training__max_steps=2,
            training__micro_batch=8,
            training__gradient_checkpointing=checkpointing,
            evaluation__every=None,
            training__report_every=1e-6,
        )
        found = train(config)
        assert found.outcome.status == "completed", found.outcome
        assert any("router is added" in fields["message"] for fields in found.sink.of("log"))
        return found.sink.of("step")

    plain, checkpointed = run(False), run(True)
    router = plain[0]["metrics"]["router_loss"]
    assert 0.9 < router < 2.1
    assert plain[0]["loss"] > 5.5 + COEFFICIENT * router  # the cross-entropy of 386 tokens is about 5.95
    for one, other in zip(plain, checkpointed, strict=True):
        for name in ("loss", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-4)
