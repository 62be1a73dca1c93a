"""Prompt tuning, P-tuning, prefix tuning and IA3: the loss, the fallbacks, resuming, answers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.conftest import MakeConfig, Trained
from tests.core.test_loss import FAST, SomeRows
from tests.core.test_session import Train, reacting
from tests.core.ways import batches, check_ways, summed_loss
from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay, MicroSize, lay_padded_rows
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.methods import attach, count_model_parameters, merge
from tui_tuner.methods.attached import count_virtual_positions, count_virtual_tokens
from tui_tuner.models.loading import load_model

PROMPTS = ["prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2"]
PREFIXES = ("prefix_tuning", "p_tuning_v2")
KINDS = ["ia3", *PROMPTS]
PADDED = ForwardWay(packing=False, compact=True, segments=False)
LENGTHS = [17, 5, 40, 9, 23, 31, 2]


def made(make_config: MakeConfig, kind: str, **changes: Any) -> Any:
    """A model with a method attached whose weights have left their beginning."""
    config = make_config(method={"kind": kind, "virtual_tokens": 6, **changes})
    attention.register_attention()
    torch.manual_seed(0)
    model = attach(load_model(config, "cpu"), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def labelled_loss(model: Any, data: SomeRows) -> torch.Tensor:
    """The usual way: padded rows, labels of -100 where nothing is trained, the loss of the model itself."""
    part = lay_padded_rows(data, range(len(data)), 0)
    labels = torch.full_like(part.input_ids, -100)
    labels[:, 1:] = torch.where(part.keep[:, :-1], part.input_ids[:, 1:], -100)
    return model(input_ids=part.input_ids, attention_mask=part.attention_mask, labels=labels).loss


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_those_of_labels(
    make_config: MakeConfig, tiny_tokenizer: Any, kind: str, compact: bool
) -> None:
    model, data = made(make_config, kind), SomeRows(LENGTHS, len(tiny_tokenizer))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    expected = labelled_loss(model, data)
    wanted = torch.autograd.grad(expected, trained)

    path = replace(PADDED, compact=compact, virtual=count_virtual_positions(model))
    parts = batches(data, range(len(data)), MicroSize(3, 1000), path)
    targets = sum(part.trained_tokens for part in parts)
    loss = sum((summed_loss(model, part, path) for part in parts), torch.zeros(())) / targets
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for found, gradient in zip(torch.autograd.grad(loss, trained), wanted, strict=True):
        torch.testing.assert_close(found, gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", PROMPTS)
def test_the_self_check_refuses_flat_rows(make_config: MakeConfig, tiny_tokenizer: Any, kind: str) -> None:
    model, data = made(make_config, kind), SomeRows(LENGTHS, len(tiny_tokenizer))
    virtual = count_virtual_positions(model)
    assert virtual == (0 if kind in PREFIXES else 6) and count_virtual_tokens(model) == 6
    for wanted in (FAST, replace(FAST, segments=False)):
        found = check_ways(model, data, [1, 0, 3, 2], replace(wanted, virtual=virtual))
        assert found.exact and found.problem and not found.way.packing
        assert found.way == replace(PADDED, virtual=virtual)


@pytest.mark.parametrize("kind", PROMPTS)
def test_packing_asked_for_is_refused_with_a_reason_and_the_same_loss(
    make_config: MakeConfig, train: Train, kind: str
) -> None:
    method = {"kind": kind, "virtual_tokens": 6}
    auto = train(make_config(method=method, training__max_steps=3))
    asked = train(make_config(method=method, training__max_steps=3, data__packing=True))
    one = train(make_config(method=method, training__max_steps=3, training__micro_batch=1))
    assert auto.outcome.status == "completed", auto.outcome
    assert auto.codes() == []
    said = [event["message"] for event in asked.sink.of("warning")]
    assert asked.codes() == ["padded_rows"] and "6 virtual tokens precede each row" in said[0]
    resolved = {event["field"]: event for event in auto.sink.of("resolved")}
    assert resolved["data.packing"]["value"] is False and "Virtual tokens" in resolved["data.packing"]["why"]
    assert asked.steps() == auto.steps()
    assert one.steps() == pytest.approx(auto.steps(), abs=2e-5)


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
def test_an_initial_text_is_read_as_if_it_stood_before_the_prompt(
    make_config: MakeConfig, tiny_tokenizer: Any, kind: str
) -> None:
    text = "Describe the red hat."
    before = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    config = make_config(method={"kind": kind, "virtual_tokens": len(before), "initial_text": text})
    model = attach(load_model(config, "cpu"), config).eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        plain = model.get_base_model()(input_ids=torch.tensor([before + ids[0].tolist()])).logits
        found = model(input_ids=ids).logits
    torch.testing.assert_close(found[:, -20:], plain[:, -20:], atol=1e-5, rtol=1e-4)


def test_an_initial_text_that_is_too_long_is_refused(make_config: MakeConfig) -> None:
    text = "Describe the red hat in many words."
    config = make_config(method={"kind": "prompt_tuning", "virtual_tokens": 3, "initial_text": text})
    with pytest.raises(ConfigError, match="there are only 3 virtual tokens"):
        attach(load_model(config, "cpu"), config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_goes_on_with_the_same_losses(make_config: MakeConfig, train: Train, kind: str) -> None:
    method = {"kind": kind, "virtual_tokens": 5}
    config = make_config(method=method, training__max_steps=6, training__report_every=1e-6)
    whole = train(config)
    stopped = train(config, before=reacting({2: ["stop"]}))
    assert stopped.outcome.status == "stopped" and max(stopped.steps()) < 6
    resumed = train(config, resume=stopped.folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()
    for name in ("last", "best"):
        files = [run.folder.path / name / "adapter_model.safetensors" for run in (whole, stopped)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning", "ia3"])
def test_gradient_checkpointing_gives_the_same_run(make_config: MakeConfig, train: Train, kind: str) -> None:
    method = {"kind": kind, "virtual_tokens": 5}
    plain = train(make_config(method=method, training__max_steps=3))
    seen: list[bool] = []

    def spy(run: Trained) -> None:
        from tui_tuner.methods.layers import find_layers
        from tui_tuner.training.train import Training

        inner = Training.train_run

        def look(self: Any) -> Any:
            seen.extend(layer.gradient_checkpointing for layer in find_layers(self.model))
            return inner(self)

        patch.setattr(Training, "train_run", look)

    with pytest.MonkeyPatch.context() as patch:
        config = make_config(method=method, training__max_steps=3, training__gradient_checkpointing=True)
        checked = train(config, before=spy)
    assert seen == [True, True, True]
    assert checked.steps() == pytest.approx(plain.steps(), abs=1e-5)


def test_prefix_tuning_refuses_gradient_checkpointing(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"training\.gradient_checkpointing: .* leave out the prefix"):
        make_config(method={"kind": "prefix_tuning"}, training__gradient_checkpointing=True)


def answers_as_its_forward_pass_says(model: Any, tokenizer: Any) -> None:
    """Greedy answers with a cache and in batches, against a whole forward pass for each token."""
    prompts = [list(range(20, 20 + length)) for length in (9, 4, 4, 17)]
    model.eval()
    with torch.no_grad():
        for prompt, found in zip(prompts, generate_answers(model, tokenizer, prompts, 6), strict=True):
            ids = list(prompt)
            for token in found.ids:
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
                assert float(logits.max() - logits[token]) < 1e-4
                ids.append(token)


@pytest.mark.parametrize("kind", PROMPTS)
def test_answers_do_not_depend_on_the_other_prompts(
    make_config: MakeConfig, tiny_tokenizer: Any, kind: str
) -> None:
    answers_as_its_forward_pass_says(made(make_config, kind), tiny_tokenizer)


def test_virtual_tokens_take_room_in_the_context(make_config: MakeConfig, tiny_tokenizer: Any) -> None:
    model = made(make_config, "prompt_tuning")
    found = generate_answers(model, tiny_tokenizer, [[30] * 506, [30] * 503], 20)
    assert "fills the context" in found[0].note
    assert len(found[1].ids) == 3 and "cut short" in found[1].note


@pytest.mark.parametrize("kind", ["loha", "vera"])
def test_other_updates_resume_exactly_and_read_flat_rows(
    make_config: MakeConfig, train: Train, kind: str
) -> None:
    method = {"kind": kind, "rank": 4, "layers": 2}
    config = make_config(method=method, training__max_steps=5, training__report_every=1e-6)
    whole = train(config)
    assert whole.outcome.status == "completed" and whole.codes() == [], whole.outcome
    stopped = train(config, before=reacting({2: ["stop"]}))
    resumed = train(config, resume=stopped.folder)
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()
    padded = train(make_config(method=method, training__max_steps=5, data__packing=False))
    assert padded.steps() == pytest.approx(whole.steps(), abs=2e-5)
    with safe_open(whole.folder.last_path / "adapter_model.safetensors", "pt") as file:
        layers = {name.split(".layers.")[1][0] for name in file.keys() if ".layers." in name}  # noqa: SIM118
    assert layers == {"1", "2"}


def test_an_update_is_never_left_out_by_chance(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(make_config, "loha").train()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.zeros(*shape))
        torch.testing.assert_close(model(input_ids=ids).logits, before)


def test_ia3_stays_in_full_precision_and_learns_on_16_bit_weights(
    make_config: MakeConfig, train: Train
) -> None:
    config = make_config(
        method={"kind": "ia3"},
        model__dtype="bfloat16",
        training__autocast=True,
        training__learning_rate=0.001,
        training__max_steps=3,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    with safe_open(run.folder.last_path / "adapter_model.safetensors", "pt") as file:
        factors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    assert {one.dtype for one in factors} == {torch.float32}
    moved = torch.cat([one.flatten() for one in factors]) - 1
    assert 0 < moved.abs().max() < 0.004  # less than bfloat16 could hold


@pytest.mark.parametrize("kind", ["lora", "ia3", "vera"])
def test_weights_that_lie_the_other_way_round(
    make_config: MakeConfig, recwarn: pytest.WarningsRecorder, kind: str
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4)).eval()
    model = attach(base, make_config(method={"kind": kind, "rank": 4}))
    assert not [one for one in recwarn if "fan_in_fan_out" in str(one.message)]
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
        before = model(input_ids=ids).logits
        torch.testing.assert_close(merge(model)(input_ids=ids).logits, before, atol=1e-5, rtol=1e-4)


def test_ia3_scales_what_enters_the_way_out_of_the_feed_forward_block(make_config: MakeConfig) -> None:
    config = make_config(method={"kind": "ia3", "layers": 1, "targets": ["k_proj", "v_proj", "down_proj"]})
    model = attach(load_model(config, "cpu"), config)
    names = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".layers.")[1].split(".ia3_l")[0]: shape for name, shape in names.items()} == {
        "2.self_attn.k_proj": (32, 1),
        "2.self_attn.v_proj": (32, 1),
        "2.mlp.down_proj": (1, 128),
    }
    assert count_model_parameters(model)[0] == 32 + 32 + 128


def test_nothing_is_printed(make_config: MakeConfig, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        method = {"kind": kind, "virtual_tokens": 5}
        run = train(make_config(method=method, training__max_steps=1, evaluation__samples=2))
        assert run.outcome.status == "completed", run.outcome
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "vera", "ia3"])
def test_merged_weights_compute_the_same(make_config: MakeConfig, kind: str) -> None:
    model = made(make_config, kind)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        merged = merge(model)
        assert not any(kind[:4] in name for name, _ in merged.named_parameters())
        torch.testing.assert_close(merged(input_ids=ids).logits, before, atol=1e-5, rtol=1e-4)
    assert merge(merged) is merged


@pytest.mark.parametrize("kind", PROMPTS)
def test_virtual_tokens_cannot_be_merged(make_config: MakeConfig, kind: str) -> None:
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(made(make_config, kind))


def test_quantised_weights_are_not_rounded_twice(make_config: MakeConfig) -> None:
    config = make_config(method={"kind": "ia3"}, model__quantization="nf4")
    with pytest.raises(ModelError, match="quantised"):
        merge(attach(load_model(config, "cpu"), config))


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_taken_home_answers_as_the_run_did(
    make_config: MakeConfig, train: Train, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    method = {"kind": kind, "virtual_tokens": 5}
    prompt = "Describe the red hat."
    run = train(
        make_config(
            method=method,
            training__learning_rate=0.1,
            evaluation__prompts=[prompt],
            evaluation__max_new_tokens=12,
        )
    )
    said = [event["text"] for event in run.sink.of("sample") if event["stage"] == "after"]
    monkeypatch.chdir(run.folder.last_path)
    code = re.search(r"```python\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code[1] if code else "", names)  # plain libraries, as the card says
    model = names["model"]
    messages = [{"role": "user", "content": prompt}]
    ids = tiny_tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    answers = generate_answers(model, tiny_tokenizer, [list(ids["input_ids"])], 12)
    assert [one.text for one in answers] == said
    assert said != [event["text"] for event in run.sink.of("sample") if event["stage"] == "before"]


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "rwkv": {"hidden_size": 64, "attention_hidden_size": 64, "num_hidden_layers": 2},
    "gemma4_text": {**SHAPE, "vocab_size_per_layer_input": 2048, "hidden_size_per_layer_input": 8},
    "gemma3_text": {
        **SHAPE,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


@pytest.mark.parametrize(
    ("family", "works"),
    [
        ("qwen3", KINDS),
        ("gemma3_text", KINDS),
        ("gpt2", KINDS),
        ("mamba", ["ia3", "prompt_tuning", "p_tuning"]),
        ("gemma4_text", ["ia3", "p_tuning_v2"]),
        ("rwkv", ["ia3"]),
    ],
)
def test_families_work_exactly_or_say_why_not(
    make_config: MakeConfig, tiny_tokenizer: Any, family: str, works: list[str]
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    data = SomeRows(LENGTHS, len(tiny_tokenizer))
    shape = SHAPES.get(family, SHAPE)
    for kind in KINDS:
        config = make_config(method={"kind": kind, "virtual_tokens": 6})
        settings = AutoConfig.for_model(family, vocab_size=len(tiny_tokenizer), **shape)
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_config(settings).eval()
        if kind not in works:
            with pytest.raises(ConfigError, match="does not work with this model"):
                attach(base, config)
            continue
        model = attach(base, config)
        path = replace(FAST if kind == "ia3" else PADDED, virtual=count_virtual_positions(model))
        found = check_ways(model, data, [1, 0, 3, 2], path)
        assert found.exact and (kind == "ia3" or found.way == path), (kind, found)
        if kind in PROMPTS:
            answers_as_its_forward_pass_says(model, tiny_tokenizer)
