"""Every method on encoder-decoders, and on an encoder that guesses masks: attached, saved, loaded, merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.kinds.adapter_checks import stir
from tests.matrix.pairs import METHODS as SETTINGS
from tests.matrix.pairs import make_models
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.methods import attach, count_model_parameters, find_method, merge
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.tasks import find_task

IDS = torch.tensor([[9, 12, 5, 20, 14, 8, 30, 11], [7, 16, 6, 8, 9, 10, 11, 12]])
WORK = {"t5": "seq2seq", "bart": "seq2seq", "encoder": "masked_lm"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    make_models(folder)
    return folder


def configure(models: Path, name: str, kind: str, **fields: Any) -> RunConfig:
    needs = dict(SETTINGS[kind][0])
    if "adapters" in needs:
        needs["adapters"] = [str(models / "adapters" / name / one) for one in needs["adapters"]]
    values = {
        "task": WORK[name],
        "model": {"name": str(models / name), "dtype": "float32"},
        "method": {"kind": kind, **needs, **fields},
        "hardware": {"devices": "cpu"},
    }
    return build_config(values)


def prepare(config: RunConfig) -> Any:
    task = find_task(config.task)
    torch.manual_seed(0)
    return attach(load_model(config, "cpu", None, task.auto_class), config, task.peft_type)


def call(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    both = {"decoder_input_ids": ids[:, :3]} if model.config.is_encoder_decoder else {}
    found: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), **both).logits
    return found


def say(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return call(model.eval())


def load_plainly(config: RunConfig, folder: Path) -> Any:
    """What a saved model says, by the classes that its card names."""
    import transformers
    from peft import PeftModel

    auto_class = getattr(transformers, find_task(config.task).auto_class)
    if not config.method.has_trait(Trait.ADAPTER):
        return auto_class.from_pretrained(folder)
    return PeftModel.from_pretrained(auto_class.from_pretrained(config.model.name), folder)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("name", WORK)
def test_it_trains_is_loaded_plainly_and_merges(models: Path, tmp_path: Path, name: str, kind: str) -> None:
    config = configure(models, name, kind)
    assert set(SETTINGS) == set(METHODS)
    if not config.task_kind.takes_method(kind):
        return
    model = prepare(config)
    call(model.train()).square().sum().backward()
    facts = load_facts(config.model, network=False)
    assert count_run_parameters(config, facts).trained == count_model_parameters(model)[0]
    trained = {weight: one for weight, one in model.named_parameters() if one.requires_grad}
    assert trained and any(one.grad is not None and one.grad.any() for one in trained.values())
    stir(model)
    wanted = say(model)
    if config.task_kind.encoder_decoder:
        # What it writes is what it says of what it has written.
        written = model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3)
        ids = written if int(written[0, 0]) == model.config.decoder_start_token_id else None
        assert ids is not None and ids.shape[1] > 1
        with torch.no_grad():
            logits = model(
                input_ids=IDS, attention_mask=torch.ones_like(IDS), decoder_input_ids=ids[:, :1]
            ).logits
        assert logits[:, -1].argmax(-1).tolist() == ids[:, 1].tolist()
    find_method(kind).save_model(model, tmp_path / "saved")
    assert torch.allclose(say(load_plainly(config, tmp_path / "saved")), wanted, atol=1e-5)
    if METHODS[kind].has_trait(Trait.MERGEABLE):
        merged = merge(model)
        assert torch.allclose(say(merged), wanted, atol=1e-4)
        merged.save_pretrained(tmp_path / "merged")
        whole = load_plainly(configure(models, name, "full"), tmp_path / "merged")
        assert torch.allclose(say(whole), wanted, atol=1e-4)


def list_trained(model: Any) -> list[str]:
    return [name for name, one in model.named_parameters() if one.requires_grad]


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if "layers" in METHODS[kind].fields])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_the_last_layers_are_those_of_the_decoder(models: Path, name: str, kind: str) -> None:
    trained = list_trained(prepare(configure(models, name, kind, layers=1)))
    last = "decoder.block.1." if name == "t5" else "decoder.layers.1."
    final = ("final_layer_norm", "layernorm_embedding", "vera_lambda")
    assert any(last in weight for weight in trained)
    assert [
        weight for weight in trained if last not in weight and not any(one in weight for one in final)
    ] == []
    with pytest.raises(ConfigError, match="3 is more than this model's 2 layers"):
        prepare(configure(models, name, kind, layers=3))


def test_a_head_that_is_the_embedding_matrix_is_not_trained_alone(models: Path) -> None:
    for name in WORK:
        with pytest.raises(ConfigError, match="head is its embedding matrix"):
            prepare(configure(models, name, "freeze", layers=0))
