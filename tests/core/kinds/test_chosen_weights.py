"""Freeze: the head alone, and weights that a pattern of names means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import MakeConfig
from tests.core.test_session import Train
from tui_tuner.cli.command_list import app
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.methods import attach
from tui_tuner.methods.name_pattern import choose_names, suggest_patterns
from tui_tuner.models.loading import load_model

SHAPE = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "tie_word_embeddings": False,
}
NAMES = [f"model.layers.{place}.mlp.up_proj.weight" for place in range(12)] + ["lm_head.weight"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("model.layers.1.*", [NAMES[1]]),
        (r"layers\.(2|3)\.", NAMES[2:4]),
        (r"layers.1", [NAMES[1], NAMES[10], NAMES[11]]),
        ("*head*", ["lm_head.weight"]),
        ("*.mlp.*", NAMES[:12]),
        ("[", []),
        ("nothing", []),
    ],
)
def test_a_shell_pattern_fits_whole_names_and_a_regular_expression_is_searched_for(
    pattern: str, found: list[str]
) -> None:
    assert choose_names(pattern, NAMES) == found


def test_the_nearest_names_are_patterns_that_fit() -> None:
    near = suggest_patterns("model.layers.*.mpl.up_proj.weight", NAMES)
    assert near[0] == "model.layers.*.mlp.up_proj.weight"
    assert choose_names(near[0], NAMES) == NAMES[:12]


def trained(model: Any) -> set[str]:
    return {name for name, one in model.named_parameters() if one.requires_grad}


def built(**method: Any) -> set[str]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**{name: value for name, value in SHAPE.items() if name != "model_type"})
    run = RunConfig.model_validate({"method": {"kind": "freeze", **method}})
    return trained(attach(LlamaForCausalLM(config), run))


def test_without_layers_the_head_alone_is_trained() -> None:
    assert built(layers=0) == {"lm_head.weight"}


def test_a_pattern_takes_the_place_of_layers() -> None:
    assert built(pattern="model.layers.11.self_attn.*") == {
        f"model.layers.11.self_attn.{name}_proj.weight" for name in "qkvo"
    }
    with pytest.raises(
        ConfigError, match=r"no weight of this model has a name like '\*\.mpl\.\*'"
    ) as refused:
        built(pattern="*.mpl.*")
    assert refused.value.field == "method.pattern" and "model.layers.*.mlp." in refused.value.hint
    with pytest.raises(ValueError, match="leave one of the two out"):
        RunConfig.model_validate({"method": {"kind": "freeze", "layers": 2, "pattern": "*"}})
    with pytest.raises(ValueError, match="lora needs a layer to sit on"):
        RunConfig.model_validate({"method": {"kind": "lora", "layers": 0}})
    # other methods do not read it
    RunConfig.model_validate({"method": {"kind": "lora", "layers": 2, "pattern": "*"}})


def test_a_head_that_is_the_embedding_matrix_is_not_trained_alone(make_config: MakeConfig) -> None:
    config = make_config(method={"kind": "freeze", "layers": 0})
    model = load_model(config, "cpu")
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        model.tie_weights()
        model.lm_head.weight = model.get_input_embeddings().weight
    with pytest.raises(ConfigError, match="head is its embedding matrix"):
        attach(model, config)


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ({"layers": 0}, 32 * 100),
        ({"pattern": "*.mlp.*"}, 12 * 3 * 32 * 64),
        ({"pattern": r"layers\.(2|3)\.self_attn"}, 2 * 4 * 32 * 32),
    ],
)
def test_the_numbers_are_counted_from_a_config_alone(
    tmp_path: Path, method: dict[str, Any], count: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    run = {"model": {"name": str(tmp_path)}, "method": {"kind": "freeze", **method}}
    (tmp_path / "run.yaml").write_text(json.dumps({**run, "data": {"path": "demo"}}))
    found = CliRunner().invoke(app, ["estimate", str(tmp_path / "run.yaml"), "--json"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.output)
    assert said["trained_parameters"] == count and said["parameters_exact"] is True


@pytest.mark.parametrize("method", [{"pattern": "model.layers.1.*"}, {"layers": 0}])
def test_what_is_not_chosen_stays_to_the_bit(
    make_config: MakeConfig, train: Train, tiny_model: Path, method: dict[str, Any]
) -> None:
    from safetensors import safe_open

    run = train(make_config(method={"kind": "freeze", **method}, training__max_steps=3))
    tied = bool(json.loads((tiny_model / "config.json").read_text()).get("tie_word_embeddings"))
    if tied and "layers" in method:
        assert run.outcome.status == "failed" and "embedding matrix" in run.outcome.message
        return
    assert run.outcome.status == "completed", run.outcome
    with (
        safe_open(tiny_model / "model.safetensors", "pt") as before,
        safe_open(run.folder.last_path / "model.safetensors", "pt") as after,
    ):
        changed = {
            name
            for name in before.keys()  # noqa: SIM118
            if not bool((before.get_tensor(name) == after.get_tensor(name)).all())
        }
    begins = "model.layers.1." if "pattern" in method else "lm_head."
    assert changed and all(name.startswith(begins) for name in changed)
