"""Parameters as planning counts them against models of transformers with methods of PEFT, without data."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from tests.unit.planning.heads.shapes import DECODERS, ENCODERS
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import MethodSection, ModelSection, RunConfig
from tui_tuner.methods import attach, count_model_parameters
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN
from tui_tuner.models.facts import read_config_facts
from tui_tuner.models.new_weights import note_random_head
from tui_tuner.planning.heads.parameters import count_parameters
from tui_tuner.tasks import find_task

TASKS = {TEXT: "classification", TOKEN: "token_classification", SPAN: "question_answering", "": "sft"}
# Their trained tensors are checked on real weights when they are attached
UNDATED = ("prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2")
UNCARRIED = {"albert": ("bottleneck",)}  # its layers share their weights
CLASSES = 3
UNTURNED = ("loha", "lokr", "oft", "boft")  # refused where matrices lie the other way round
SIZES = {"rotation_block": 4, "frequencies": 50}  # of so small a model
CLOSELY = ("bert", "distilbert", "roberta", "albert", "deberta-v2", "modernbert", "llama", "gpt2")


def cases(facts: Any) -> list[dict[str, Any]]:
    """Every method that a model without data can get, and fields that decide where it sits; of architectures
    that are like another one, those that tell all of their shapes."""
    if facts.model_type not in CLOSELY:
        return [{"kind": "full"}, {"kind": "freeze"}, {"kind": "ia3"}, {"kind": "dora", "rank": 2}]
    # a fusion is made of adapters that were saved
    without = (*UNDATED, "fusion", *UNCARRIED.get(facts.model_type, ()))
    kinds = [kind for kind in METHODS if kind not in without]
    found: list[dict[str, Any]] = [{"kind": kind, "rank": 2, **SIZES} for kind in kinds]
    found += [{"kind": "lokr", "rank": 1, "decompose_factor": 4, "decompose_both": True}]
    found += [{"kind": kind, "rank": 3, "layers": 1} for kind in ("lokr", "randlora", "vera", "ln_tuning")]
    if "bottleneck" in kinds:
        found += [{"kind": "bottleneck", "style": "houlsby", "reduction": 4, "layer_norm": "after"}]
        found += [{"kind": "bottleneck", "style": "parallel", "layers": 1}]
    first = next(one.name.split(".")[-1] for one in facts.layer_linears if one.group == "attention")
    found += [{"kind": "lora", "rank": 3, "targets": [first]}, {"kind": "lora", "layers": 1}]
    found += [{"kind": "lora", "train_embeddings": True}]
    if facts.own_layers > 2:
        found += [{"kind": "freeze", "layers": 2}, {"kind": "freeze", "layers": facts.layers}]
    if facts.encoder or not facts.tied:
        found += [{"kind": "freeze", "layers": 0}]
    if any(
        one.name.endswith("dense") for one in facts.layer_linears
    ):  # which a pooler and a head are called too
        found += [{"kind": kind, "targets": ["dense"]} for kind in ("lora", "ia3")]
    if any(
        one.name == "output.dense" for one in facts.layer_linears
    ):  # and so ends a name inside of attention
        found += [{"kind": kind, "targets": ["output.dense"]} for kind in ("lora", "ia3")]
    return found


def built(kind: str, shape: dict[str, Any], decides: str) -> tuple[Any, Any]:
    """The model that a task loads, without data, and what planning reads of its config."""
    task = find_task(TASKS[decides])
    extra = {"num_labels": CLASSES} if decides in (TEXT, TOKEN) else {}
    with torch.device("meta"):
        config = AutoConfig.for_model(kind, **shape, **extra, pad_token_id=0)
        model = getattr(transformers, task.auto_class).from_config(config)
    return model, read_config_facts(json.loads(config.to_json_string()))


def attached(model: Any, method: dict[str, Any], decides: str) -> tuple[int, int]:
    section = MethodSection.model_validate(method)
    run: Any = SimpleNamespace(method=section, model=ModelSection(), training=SimpleNamespace(seed=1))
    with torch.device("meta"):
        made = attach(copy.deepcopy(model), run, find_task(TASKS[decides]).peft_type)
    found = count_model_parameters(made)
    if hasattr(made, "get_nb_trainable_parameters"):
        assert found == made.get_nb_trainable_parameters()  # what `print_trainable_parameters` prints
    return found


@pytest.mark.parametrize("decides", [TEXT, TOKEN, SPAN, ""])
@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_counts_are_those_of_the_model_with_its_method(kind: str, decides: str) -> None:
    shape = {**ENCODERS, **DECODERS}[kind]
    if not decides and kind in ENCODERS:
        return  # they write nothing
    try:
        model, facts = built(kind, shape, decides)
    except ValueError:
        known = read_config_facts({"model_type": kind, **shape}).family.no_heads
        assert decides in known, "transformers has no class for this head, and nobody says so"
        return
    assert decides not in facts.family.no_heads
    for method in cases(facts):
        if kind == "gpt2" and method["kind"] in UNTURNED:
            continue
        counted = count_parameters(facts, MethodSection.model_validate(method), decides, CLASSES)
        assert (counted.trained, counted.total) == attached(model, method, decides), method
        assert not counted.doubt


@pytest.mark.parametrize("kind", ["bert", "albert", "ernie"])
def test_a_pooler_of_random_weights_is_trained_with_the_head(kind: str) -> None:
    model, facts = built(kind, ENCODERS[kind], TEXT)
    note_random_head(model)
    for method in cases(facts):
        section = MethodSection.model_validate(method)
        counted = count_parameters(facts, section, TEXT, CLASSES, new_pooler=True)
        assert (counted.trained, counted.total) == attached(model, method, TEXT), method


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ("deberta-v2", {"share_att_key": False, "conv_kernel_size": 0, "norm_rel_ebd": "none"}),
        ("deberta-v2", {"position_biased_input": True, "type_vocab_size": 2, "position_buckets": -1}),
        ("deberta", {"relative_attention": False, "type_vocab_size": 2}),
        ("deberta", {"talking_head": True, "max_relative_positions": 20}),
        ("albert", {"num_hidden_groups": 3, "inner_group_num": 1}),
        ("electra", {"embedding_size": 24}),
        ("modernbert", {"classifier_bias": True, "attention_bias": True, "mlp_bias": True}),
        ("mpnet", {"relative_attention_num_buckets": 16}),
    ],
)
def test_what_a_config_decides_is_counted(shape: str, changed: dict[str, Any]) -> None:
    model, facts = built(shape, {**ENCODERS[shape], **changed}, TEXT)
    for kind in ("full", "lora"):
        section = MethodSection(kind=kind)
        counted = count_parameters(facts, section, TEXT, CLASSES)
        assert (counted.trained, counted.total) == attached(model, {"kind": kind}, TEXT)


@pytest.mark.parametrize("kind", UNDATED)
@pytest.mark.parametrize("decides", [TEXT, TOKEN, SPAN])
@pytest.mark.parametrize("model_type", ["bert", "modernbert", "llama"])
def test_virtual_tokens_and_the_head_beside_them(
    tmp_path: Any, model_type: str, decides: str, kind: str
) -> None:
    """On real weights, for a prompt method is tried when it is attached."""
    import tokenizers

    from tui_tuner.errors import ConfigError

    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({str(place): place for place in range(101)}, "0")
    )
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0")
    made.save_pretrained(tmp_path)
    task = find_task(TASKS[decides])
    extra = {} if decides == SPAN else {"num_labels": CLASSES}
    shape = {**ENCODERS, **DECODERS}[model_type]
    config = AutoConfig.for_model(model_type, **shape, **extra, pad_token_id=0)
    getattr(transformers, task.auto_class).from_config(config).save_pretrained(tmp_path)
    run = RunConfig.model_validate(
        {
            "task": task_name(decides),
            "model": {"name": str(tmp_path)},
            "method": {"kind": kind, "virtual_tokens": 3, "encoder_size": 5 if kind == "p_tuning" else None},
        }
    )
    learned = {"tags": ["B-X", "I-X", "O"], "names": [], "known": []} if decides == TOKEN else {}
    model = task.load_run_model(run, "cpu", made, learned)
    facts = read_config_facts(json.loads((tmp_path / "config.json").read_text()))
    try:
        found = count_model_parameters(attach(model, run, task.peft_type))
    except ConfigError as error:
        assert model_type in ENCODERS and METHODS[kind].has_trait(Trait.PREFIX), error  # it keeps no keys
        return
    counted = count_parameters(facts, run.method, decides, CLASSES)
    assert (counted.trained, counted.total) == found


def task_name(decides: str) -> str:
    return TASKS[decides]
