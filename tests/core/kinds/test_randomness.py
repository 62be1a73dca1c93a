"""What of a model is random in training is found by computing, and nothing of the search is left behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.test_architectures import SHAPE
from tui_tuner.compute.prefix_cache import count_frozen_layers
from tui_tuner.compute.randomness import find_randomness

Train = Callable[..., Trained]
SMALL = {**SHAPE, "num_hidden_layers": 4}
OPT = {"num_hidden_layers": 4, "ffn_dim": 64, "word_embed_proj_dim": 64, "max_position_embeddings": 128}
# Each with the name of its dropout, which is a function that is called, not a module, in most of them
DROPS: dict[str, tuple[dict[str, Any], str]] = {
    "opt": (OPT, "dropout"),
    "xglm": ({"num_layers": 4, "attention_heads": 4, "ffn_dim": 64, "d_model": 64}, "dropout"),
    "bloom": ({"n_layer": 4, "n_head": 4}, "hidden_dropout"),
    "falcon": ({"num_hidden_layers": 4}, "hidden_dropout"),
    "mpt": ({"d_model": 64, "n_heads": 4, "n_layers": 4}, ""),  # its config takes whole numbers only
    "gpt_neo": ({"num_layers": 4, "num_heads": 4, "attention_types": [[["global"], 4]]}, "resid_dropout"),
    "gpt2": ({"n_embd": 64, "n_layer": 4, "n_head": 4}, "embd_pdrop"),
    "llama": ({}, "attention_dropout"),
}
OFF = (
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "activation_dropout",
    "resid_dropout",
    "embed_dropout",
)
OFF += ("embd_pdrop", "resid_pdrop", "attn_pdrop", "emb_pdrop")


def build(kind: str, share: float) -> Any:
    """A model with its one kind of dropout at that share, and all others off."""
    from transformers import AutoConfig, AutoModelForCausalLM

    more, name = DROPS[kind]
    torch.manual_seed(0)
    shape = {key: value for key, value in SMALL.items() if (kind, key) != ("falcon", "head_dim")}
    config = AutoConfig.for_model(kind, **{**shape, **more})
    for other in OFF:
        if hasattr(config, other):
            setattr(config, other, 0.0)
    if name:
        setattr(config, name, share)
    model = AutoModelForCausalLM.from_config(config)
    for module in model.modules():
        if hasattr(module, "attn_dropout_p"):
            module.attn_dropout_p = share
    return model


def passes_differ(model: Any) -> bool:
    ids = torch.arange(3, 40)[None]
    model.train()
    with torch.no_grad():
        first = model(input_ids=ids).logits
        return any(not torch.equal(first, model(input_ids=ids).logits) for _unused in range(3))


@pytest.mark.parametrize("kind", DROPS)
def test_dropout_of_every_kind_is_seen(kind: str) -> None:
    noisy, calm = build(kind, 0.1), build(kind, 0.0)
    assert passes_differ(noisy) and not passes_differ(calm)
    found = find_randomness(noisy)
    assert found.anything and found.quiet == 0 and not found.problem
    found = find_randomness(calm)
    assert not found.anything and found.quiet == 4 and not found.problem


def test_a_share_so_small_that_a_short_row_seldom_shows_it_is_seen() -> None:
    model = build("opt", 1e-6)
    assert find_randomness(model).anything


def test_layers_below_the_first_random_one_are_quiet() -> None:
    model = build("opt", 0.0)
    model.model.decoder.layers[2].dropout = 0.1
    found = find_randomness(model)
    assert (found.anything, found.quiet) == (True, 2)
    model.requires_grad_(False)
    model.model.decoder.layers[3].requires_grad_(True)
    assert count_frozen_layers(model, found.quiet) == 2
    assert count_frozen_layers(model, 4) == 3


def test_layers_that_are_left_out_at_random_are_seen() -> None:
    model = build("opt", 0.0)
    assert not find_randomness(model).anything
    model.config.layerdrop = 0.01
    assert find_randomness(model).quiet == 0


def test_a_model_that_cannot_be_called_counts_as_random() -> None:
    model = build("llama", 0.0)
    model.forward = lambda *_unused, **_more: 1 / 0
    found = find_randomness(model)
    assert found.anything and found.quiet == 0 and "ZeroDivisionError" in found.problem


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(training: bool) -> None:
    model = build("opt", 0.1)
    model.train(training)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    find_randomness(model)
    assert model.training is training
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2][1])
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.fixture
def opt_folder(tiny_tokenizer: Any, tmp_path: Path) -> Callable[[float], str]:
    def write(share: float) -> str:
        model = build("opt", share)
        model.resize_token_embeddings(len(tiny_tokenizer))
        model.config.eos_token_id = model.generation_config.eos_token_id = tiny_tokenizer.eos_token_id
        folder = tmp_path / f"opt-{share}"
        model.save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return str(folder)

    return write


def test_states_below_the_models_own_dropout_are_not_stored(
    make_config: MakeConfig, train: Train, opt_folder: Callable[[float], str]
) -> None:
    for share, stored in ((0.1, False), (0.0, True)):
        run = train(
            make_config(
                model={"name": opt_folder(share), "dtype": "float32"},
                method={"kind": "freeze", "layers": 1},
                data__max_length=100,
                training__max_steps=None,
                training__epochs=2,
                training__batch_size=30,
                evaluation__every=None,
            )
        )
        assert run.outcome.status == "completed", run.outcome
        said = [fields["message"] for fields in run.sink.of("log")]
        assert any("computed once, not in each epoch" in line for line in said) is stored


def test_a_smaller_micro_batch_is_not_the_same_run_where_the_model_draws_numbers(
    make_config: MakeConfig, train: Train, opt_folder: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.survive.test_out_of_memory import Injected

    config = make_config(
        model={"name": opt_folder(0.1), "dtype": "float32"},
        data__max_length=100,
        training__micro_batch=4,
        training__max_steps=2,
        training__schedule="constant",
        training__warmup=0,
        output__save_every=2,
        evaluation__every=None,
    )
    with monkeypatch.context() as patch:
        Injected(patch, "forward", at=2)
        run = train(config)
    (said,) = run.sink.of("out_of_memory")
    assert "dropout draws other random numbers" in said["message"]
    smaller = config.model_copy(deep=True)
    smaller.training.max_steps, smaller.training.micro_batch = 3, 2
    resumed = train(smaller, resume=run.folder)
    assert resumed.outcome.status == "failed" and "training.micro_batch" in resumed.outcome.message
