"""The head of a task is trained with every method, whatever its name, and is there again after loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig
from tui_tuner.errors import ConfigError
from tui_tuner.launch.beforehand import check_config_method
from tui_tuner.methods import attach
from tui_tuner.models.loading import load_model, silence_libraries
from tui_tuner.models.new_weights import RANDOM, list_head_modules, map_backbone_names
from tui_tuner.training.keeping.final_model import write_final_model

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "distilbert": {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "roberta": SHAPE | {"pad_token_id": 1},
    "albert": SHAPE | {"embedding_size": 16},
    "electra": SHAPE | {"embedding_size": 16},
    "deberta-v2": SHAPE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "mpnet": SHAPE | {"pad_token_id": 1},
    "modernbert": SHAPE | {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "llama": SHAPE | {"num_key_value_heads": 2},
    "gpt2": {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
}
WRITERS = ("llama", "gpt2")
# What stands on the stack of layers, and what of the backbone no model of masked words has
NEW = {
    "bert": {"classifier", "bert.pooler"},
    "distilbert": {"pre_classifier", "classifier"},
    "roberta": {"classifier"},
    "albert": {"classifier", "albert.pooler"},
    "electra": {"classifier"},
    "deberta-v2": {"pooler", "classifier"},
    "mpnet": {"classifier"},
    "modernbert": {"head", "classifier"},
    "llama": {"score"},
    "gpt2": {"score"},
}
HEADS = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "vera": {"rank": 4},
    "lokr": {"rank": 4},
    "ln_tuning": {},
    "oft": {"rotation_block": 8},
    "boft": {},
    "fourierft": {"frequencies": 100},
    "randlora": {"rank": 4},
    "ia3": {},
    "freeze": {"layers": 1},
    "p_tuning": {"virtual_tokens": 3},
}
IDS = torch.tensor([[7, 20, 33, 5, 41, 12, 9, 50]])


class NoTokenizer:
    """Saves nothing: these models are asked by ids."""

    name_or_path = ""

    def save_pretrained(self, folder: str) -> None:
        return


def files_of(family: str, folder: Path) -> Path:
    """A pretrained model: one that fills in masked words, or that writes."""
    import transformers

    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(family, **SHAPES[family])
    kind = "AutoModelForCausalLM" if family in WRITERS else "AutoModelForMaskedLM"
    getattr(transformers, kind).from_config(settings).save_pretrained(folder)
    return folder


def made(make_config: MakeConfig, folder: Path, peft_type: str, method: dict[str, Any]) -> Any:
    config = make_config(model__name=str(folder), method=method)
    torch.manual_seed(0)
    values = {} if peft_type == "QUESTION_ANS" else {"num_labels": 3}
    model = load_model(config, "cpu", None, HEADS[peft_type], values, ())
    return attach(model, config, peft_type)


def said(model: Any) -> torch.Tensor:
    found = model(input_ids=IDS, attention_mask=torch.ones_like(IDS))
    return torch.cat([found.start_logits, found.end_logits]) if "start_logits" in found else found.logits


@pytest.fixture(autouse=True)
def quiet() -> None:
    silence_libraries()


@pytest.mark.parametrize("family", SHAPES)
def test_each_method_trains_all_that_begins_at_random(
    make_config: MakeConfig, tmp_path: Path, family: str
) -> None:
    import transformers
    from peft import PeftModel

    folder = files_of(family, tmp_path / family)
    kinds = list(METHODS)
    for place, peft_type in enumerate(HEADS):
        kind = kinds[(place + list(SHAPES).index(family)) % len(kinds)]  # each pair of both is met somewhere
        for method in dict.fromkeys((kind, "lora") if peft_type == "SEQ_CLS" else (kind,)):
            model = made(make_config, folder, peft_type, {"kind": method, **METHODS[method]})
            base = model.get_base_model() if hasattr(model, "peft_config") else model
            random = getattr(base, RANDOM)
            assert random, "the head is not in these files"
            trained = [
                name.replace("base_model.model.", "").replace("base_model.", "", 1)
                for name, one in model.named_parameters()
                if one.requires_grad
            ]
            for name in random:
                # behind peft's wrapper stands `modules_to_save.default`, somewhere in the name
                parts = [one for one in trained if one.replace("modules_to_save.default.", "") == name]
                assert parts, f"{method}: {name} is random and frozen"
            if peft_type == "SEQ_CLS" and method == "lora":
                assert set(model.active_peft_config.modules_to_save) >= NEW[family]
                inside = [name for name in trained if "lora_" in name]
                assert not any(name.startswith(tuple(NEW[family])) for name in inside)
            optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], 0.1)
            said(model).square().sum().backward()
            optimizer.step()
            with torch.no_grad():
                wanted = said(model.eval())
            write_final_model(model, NoTokenizer(), tmp_path / "final")
            auto = getattr(transformers, HEADS[peft_type])
            torch.manual_seed(9)
            if hasattr(model, "peft_config"):
                settings = transformers.AutoConfig.from_pretrained(tmp_path / "final")
                # what transformers itself does not find in the files of some families
                names = map_backbone_names(HEADS[peft_type], settings)
                assert bool(names) == (peft_type == "QUESTION_ANS" and family == "llama")
                on = auto.from_pretrained(folder, config=settings, key_mapping=names or None)
                again = PeftModel.from_pretrained(on, tmp_path / "final")
            else:
                again = auto.from_pretrained(tmp_path / "final")
            with torch.no_grad():
                torch.testing.assert_close(said(again.eval()), wanted, atol=1e-5, rtol=1e-5)


def test_peft_alone_finds_the_base_model_and_its_classes(make_config: MakeConfig, tmp_path: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoConfig

    folder = files_of("distilbert", tmp_path / "base")
    config = make_config(model__name=str(folder), method={"kind": "lora", "rank": 2})
    names = {0: "bad", 1: "good", 2: "odd"}
    values = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    values["problem_type"] = "single_label_classification"
    model = attach(load_model(config, "cpu", None, HEADS["SEQ_CLS"], values, ()), config, "SEQ_CLS").eval()
    write_final_model(model, NoTokenizer(), tmp_path / "final")
    settings = AutoConfig.from_pretrained(tmp_path / "final")
    assert settings.id2label == names and settings.problem_type == values["problem_type"]
    assert settings.architectures == ["DistilBertForSequenceClassification"]
    again = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "final", num_labels=3).eval()
    with torch.no_grad():
        torch.testing.assert_close(said(again), said(model), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["distilbert", "deberta-v2", "modernbert"])
def test_encoders_that_take_no_keys_refuse_a_prefix_with_the_reason(
    make_config: MakeConfig, tmp_path: Path, family: str
) -> None:
    folder = files_of(family, tmp_path / family)
    method = {"kind": "prefix_tuning", "virtual_tokens": 3, "encoder_size": 8}
    with pytest.raises(ConfigError, match=r"prefix tuning does not work with this model: .*past key values"):
        made(make_config, folder, "SEQ_CLS", method)
    config = make_config(task="classification", model__name=str(folder), method=method)
    with pytest.raises(ConfigError, match="does not accept keys and values from outside") as refused:
        check_config_method(config)
    assert "prompt_tuning" in refused.value.hint
    check_config_method(
        make_config(task="classification", model__name=str(folder), method={"kind": "prompt_tuning"})
    )


def test_what_writes_has_no_head_of_a_task(make_config: MakeConfig) -> None:
    config = make_config(method={"kind": "freeze", "layers": 1})
    model = attach(load_model(config, "cpu"), config)
    assert list_head_modules(model) == ["lm_head"]
    assert not model.lm_head.weight.requires_grad
