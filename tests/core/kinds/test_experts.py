"""LoRA on the fused experts of a mixture: what is trained, saved, merged and resumed, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.kinds.adapter_checks import check_reload, read_logits, small, stir
from tests.core.test_session import reacting
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.inference.combining import combine_adapters
from tui_tuner.inference.origin import find_origin
from tui_tuner.launch.beforehand import check_config_method
from tui_tuner.methods import attach, count_model_parameters, find_method, merge
from tui_tuner.methods.attached import find_model_method
from tui_tuner.methods.saved.putting import leaves_base, put_adapter
from tui_tuner.methods.saved.weighted_sum import Recipe
from tui_tuner.methods.stored import read_stored
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.runs.store import RunStore

Train = Callable[..., Trained]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        "head_dim": 8,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "mlp_only_layers": [1],
    },
    "qwen2_moe": {
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 40,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "gpt_oss": {
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },  # weights [experts, in, out]
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},  # each weight in a module of its own
}
BOTH = ["all-linear", "experts"]


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Callable[[str], str]:
    """Make the small mixture of a kind once, and return its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    made: dict[str, str] = {}

    def make(kind: str) -> str:
        if kind not in made:
            torch.manual_seed(0)
            settings = AutoConfig.for_model(kind, vocab_size=len(tiny_tokenizer), **SHAPE, **MIXTURES[kind])
            folder = tmp_path_factory.mktemp(kind)
            AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
            tiny_tokenizer.save_pretrained(folder)
            made[kind] = str(folder)
        return made[kind]

    return make


@pytest.mark.parametrize("kind", MIXTURES)
def test_it_is_saved_loaded_and_merged_as_it_was_trained(
    make_config: MakeConfig, mixtures: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    from peft import PeftModel

    config = make_config(model__name=mixtures(kind), **small(targets=BOTH))
    base = load_model(config, "cpu")
    before = read_logits(base)
    model = attach(base, config)
    assert torch.equal(read_logits(model), before), "it begins with an update of zero"
    assert any(
        "experts" in name or "input_linear" in name
        for name, one in model.named_parameters()
        if one.requires_grad
    )
    stir(model)
    trained = read_logits(model)
    assert (trained - before).abs().max() > 1e-3
    find_model_method(model).save_model(model, tmp_path)
    loaded = PeftModel.from_pretrained(load_model(config, "cpu"), str(tmp_path))
    assert torch.equal(read_logits(loaded), trained)
    assert torch.equal(read_logits(put_adapter(load_model(config, "cpu"), tmp_path)), trained)
    assert not leaves_base(read_stored(tmp_path))
    merged = merge(model)
    assert torch.allclose(read_logits(merged), trained, atol=1e-5)
    assert merged.state_dict().keys() == load_model(config, "cpu").state_dict().keys()


@pytest.mark.parametrize(
    ("kind", "targets", "more"),
    [
        ("mixtral", BOTH, {}),
        ("mixtral", "experts", {"kind": "rslora"}),
        ("mixtral", ["q_proj", "experts.down_proj"], {"layers": 1}),
        ("qwen3_moe", BOTH, {}),
        ("qwen3_moe", "all-linear", {}),
        ("qwen3_moe", "all-linear", {"kind": "dora"}),
        ("qwen3_moe", ["o_proj", "experts.gate_up_proj"], {}),
        ("qwen2_moe", BOTH, {}),
        ("qwen2_moe", ["experts.down_proj", "down_proj"], {}),
    ],
)
def test_an_estimate_counts_what_peft_adds(
    make_config: MakeConfig,
    mixtures: Callable[[str], str],
    tmp_path: Path,
    kind: str,
    targets: str | list[str],
    more: dict[str, Any],
) -> None:
    config = make_config(model__name=mixtures(kind), **small(targets=targets, **more))
    counted = count_run_parameters(config, load_facts(config.model))
    model = attach(load_model(config, "cpu"), config)
    assert (counted.adapter, counted.total) == count_model_parameters(model)
    assert not counted.doubt
    find_model_method(model).save_model(model, tmp_path)
    stored = read_stored(tmp_path).settings
    named = find_method(config.method.kind).read_fields(stored)
    begun = config.model_copy(update={"method": config.method.model_copy(update=named)})
    assert count_run_parameters(begun, load_facts(config.model)).adapter == counted.adapter


def test_a_resumed_run_ends_the_same_and_plain_peft_loads_it(
    make_config: MakeConfig, mixtures: Callable[[str], str], train: Train
) -> None:
    values = {
        "model__name": mixtures("mixtral"),
        "training__max_steps": 6,
        "training__batch_size": 4,
        "training__gradient_checkpointing": True,
        "training__report_every": 1e-6,
        "evaluation__every": None,
        "output__save_every": 2,
        "data__max_length": 64,
        **small(targets=BOTH),
    }
    config = make_config(**values)
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    stopped = train(config, before=reacting({3: ["stop"]}))
    assert stopped.outcome.status == "stopped" and max(stopped.steps()) < 6
    train(config, resume=stopped.folder)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        one, other = (run.folder.path / "last" / name for run in (whole, stopped))
        assert one.read_bytes() == other.read_bytes(), name
    made = whole.folder.path / "last"
    check_reload(config, made)
    more = train(make_config(**{**values, "model__adapter": str(made), "training__max_steps": 2}))
    assert more.outcome.status == "completed", more.outcome


@pytest.mark.parametrize(
    ("kind", "targets", "words"),
    [
        ("mixtral", ["experts.down_prj"], "no experts"),
        ("qwen3_moe", ["q_proj", "gate_proj"], "takes gate_proj of this model for its fused experts"),
    ],
)
def test_names_that_are_no_experts_are_refused(
    make_config: MakeConfig,
    mixtures: Callable[[str], str],
    kind: str,
    targets: list[str],
    words: str,
) -> None:
    config = make_config(model__name=mixtures(kind), **small(targets=targets))
    if "no experts" in words:  # known from the config.json alone
        with pytest.raises(ConfigError, match=words):
            check_config_method(config)
    with pytest.raises(ConfigError, match=words) as caught:
        attach(load_model(config, "cpu"), config)
    assert caught.value.field == "method.targets"
    assert "experts.gate_up_proj" in caught.value.hint


def test_a_dense_model_has_no_experts(make_config: MakeConfig) -> None:
    config = make_config(**small(targets=BOTH))
    for refuse in (check_config_method, lambda config: attach(load_model(config, "cpu"), config)):
        with pytest.raises(ConfigError, match="no experts") as caught:
            refuse(config)
        assert "all-linear" in caught.value.hint and caught.value.field == "method.targets"


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"method": {"dropout": 0.1}}, "method.dropout", "no dropout"),
        ({"method": {"kind": "dora"}}, "method.targets", "use lora, rslora"),
        ({"method": {"kind": "adalora"}}, "method.targets", "use lora, rslora"),
        ({"method": {"kind": "loha"}}, "method.targets", "use lora, rslora"),
        ({"method": {"init": "pissa"}}, "method.init", "begin at random"),
        ({"method": {"rank_pattern": {"q_proj": 4}}}, "method.rank_pattern", "one rank"),
        ({"method": {"alpha_pattern": {"q_proj": 4}}}, "method.alpha_pattern", "one rank"),
        ({"model": {"quantization": "nf4"}}, "model.quantization", "use none"),
        ({"model": {"adapter": "x", "adapter_use": "stack"}}, "model.adapter_use", "one adapter"),
    ],
)
def test_what_peft_cannot_combine_is_refused_by_the_config(
    values: dict[str, Any], field: str, words: str
) -> None:
    given = {**values, "method": {"targets": BOTH, **values.get("method", {})}}
    with pytest.raises(ValueError, match=words) as caught:
        RunConfig.model_validate(given)
    assert f"{field}: " in str(caught.value)


def test_adapters_of_experts_are_not_combined(
    make_config: MakeConfig, mixtures: Callable[[str], str], tmp_path: Path
) -> None:
    config = make_config(model__name=mixtures("mixtral"), **small(targets=BOTH))
    model = attach(load_model(config, "cpu"), config)
    find_model_method(model).save_model(model, tmp_path / "one")
    origins = [find_origin(str(tmp_path / "one"), RunStore(tmp_path / "runs"))] * 2
    with pytest.raises(ModelError, match="fused experts"):
        combine_adapters(origins, Recipe((0.5, 0.5)), tmp_path / "both")
