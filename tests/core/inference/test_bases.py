"""The base model under an adapter: missing, moved, another one; and heads that no run is known of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import MakeConfig, Trained, write_jsonl
from tui_tuner.errors import ConfigError, HubError, ModelError
from tui_tuner.inference.asking import ask_loaded_model, load_asked_model
from tui_tuner.inference.loading import ModelKeeper
from tui_tuner.inference.origin import find_origin, read_origin_step
from tui_tuner.models.fingerprint import fingerprint_weights
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.base_model import RECORD, read_base_record
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, which a test may move or change."""
    return Path(shutil.copytree(tiny_model, tmp_path / "base"))


@pytest.fixture
def ran(make_config: MakeConfig, train: Train, base: Path) -> RunFolder:
    run = train(make_config(model__name=str(base), training__max_steps=3, output__name="small"))
    assert run.outcome.status == "completed", run.outcome
    return run.folder


def change(base: Path, name: str = "model.layers.1.mlp.up_proj.weight") -> None:
    """Other weights of the same names and shapes, as another revision has them."""
    weights = load_file(base / "model.safetensors")
    weights[name] = weights[name] + 0.25
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def test_the_same_weights_have_one_fingerprint_in_any_number_of_files(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    told = fingerprint_weights(tiny_model)
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(
        tmp_path / "parts", max_shard_size="100KB"
    )
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert len(told) == 32 and fingerprint_weights(tmp_path / "parts") == told
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    change(other)
    assert fingerprint_weights(other) not in ("", told)
    (other / "model.safetensors").write_bytes(b"\x10" * 40)
    assert fingerprint_weights(other) == "" == fingerprint_weights(tmp_path)


def test_an_adapter_is_not_put_onto_other_weights(ran: RunFolder, base: Path, tmp_path: Path) -> None:
    store = RunStore(ran.path.parent)
    whole = logits(load_run(ran, "best", "cpu").model)
    kept = Path(shutil.copytree(base, tmp_path / "kept"))
    moved = Path(shutil.copytree(ran.best_path, tmp_path / "taken-home"))
    assert read_base_record(moved) == read_base_record(ran.path) and read_base_record(
        moved
    ).weights == fingerprint_weights(base)
    change(base)
    for name in ("small", "small/step-3", "small/base", str(moved)):
        with pytest.raises(ModelError, match="other weights") as caught:
            ModelKeeper("cpu").load_all([find_origin(name, store)])
        assert "--any-base" in caught.value.hint and caught.value.field == "model.name"
    with pytest.raises(ModelError, match="other weights"):
        load_run(ran, "best", "cpu")
    for name in ("small", str(moved)):
        (anyway,) = ModelKeeper("cpu").load_all([find_origin(name, store, any_base=True)])
        assert not torch.equal(logits(anyway.model), whole)
        (right,) = ModelKeeper("cpu").load_all([find_origin(name, store, base=str(kept))])
        assert torch.equal(logits(right.model), whole)
    (ran.path / RECORD).unlink()  # a run of an older version: nothing is known, so nothing is refused
    load_run(ran, "best", "cpu")


def test_a_base_that_is_gone_is_said_with_the_way_out(ran: RunFolder, base: Path, tmp_path: Path) -> None:
    store = RunStore(ran.path.parent)
    moved = base.rename(tmp_path / "moved")
    elsewhere = Path(shutil.copytree(ran.best_path, tmp_path / "elsewhere"))
    for name in ("small", str(elsewhere)):
        with pytest.raises(ModelError, match=r"was trained on the model in .*/base") as caught:
            ModelKeeper("cpu").load_all([find_origin(name, store)])
        assert "--base" in caught.value.hint
        ModelKeeper("cpu").load_all([find_origin(name, store, base=str(moved))])
    settings = json.loads((elsewhere / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "nobody/no-such-model"
    (elsewhere / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(HubError, match="nobody/no-such-model") as absent:
        ModelKeeper("cpu").load_all([find_origin(str(elsewhere), store)])
    assert "tui-tuner models fetch nobody/no-such-model" in absent.value.hint


def test_a_resumed_run_says_that_its_base_has_changed(
    make_config: MakeConfig, train: Train, base: Path
) -> None:
    values = {"training__max_steps": 3, "output__save_every": 1, "output__name": "small"}
    config = make_config(model__name=str(base), **values)
    run = train(config)
    first = read_base_record(run.folder.path)
    shutil.rmtree(run.folder.checkpoints_path / "step-3")  # as if it had been killed before
    change(base)
    again = Trained(config, resume=run.folder)
    assert again.outcome.status == "completed", again.outcome
    assert "other_base" in again.codes() and read_base_record(run.folder.path) == first


def test_an_adapter_of_another_model_is_refused_in_words(ran: RunFolder, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    store = RunStore(ran.path.parent)
    sizes = {"vocab_size": 384, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    wide, short = tmp_path / "wide", tmp_path / "short"
    LlamaForCausalLM(LlamaConfig(hidden_size=32, num_hidden_layers=3, **sizes)).save_pretrained(wide)
    sizes["intermediate_size"] = 128
    LlamaForCausalLM(LlamaConfig(hidden_size=64, num_hidden_layers=2, **sizes)).save_pretrained(short)
    with pytest.raises(ModelError, match=r"belongs to another model: .*lora_.* has the shape \[4, 64\]"):
        ModelKeeper("cpu").load_all([find_origin(str(ran.best_path), store, base=str(wide), any_base=True)])
    with pytest.raises(ModelError, match="have no place in the base model"):
        ModelKeeper("cpu").load_all([find_origin(str(ran.best_path), store, base=str(short), any_base=True)])
    weights = ran.best_path / "adapter_model.safetensors"
    stored = load_file(weights)
    save_file({name: one for name, one in stored.items() if "layers.2" not in name}, weights)
    with pytest.raises(ModelError, match="the adapter lacks"):
        ModelKeeper("cpu").load_all([find_origin("small", store)])
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged or truncated"):
        ModelKeeper("cpu").load_all([find_origin("small", store)])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_head_is_asked_wherever_its_folder_lies(
    method: str, make_config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    """Its classes and their number come from the config beside it; figures are those of the run."""
    names = ("bad", "fair", "good")
    rows = [{"text": f"row {n} is {names[n % 3]}", "label": names[n % 3]} for n in range(45)]
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    values = {"task": "classification", "data__path": str(data), "method": {"kind": method}}
    run = train(make_config(training__max_steps=3, output__name="classes", **values))
    assert run.outcome.status == "completed", run.outcome
    store = RunStore(run.folder.path.parent)
    expected = ask_loaded_model(load_asked_model(find_origin("classes", store), "cpu"), "row 5 is good")
    moved = Path(shutil.copytree(run.folder.best_path, tmp_path / "elsewhere"))
    origin = find_origin(str(moved), RunStore(tmp_path / "none"))
    assert origin.task == "classification" and origin.kind == ("adapter" if method == "lora" else "model")
    shown = ask_loaded_model(load_asked_model(origin, "cpu"), "row 5 is good")
    assert dict(shown.scores) == pytest.approx(dict(expected.scores)) and {*dict(shown.scores)} == {*names}
    assert read_origin_step(find_origin("classes", store)) in (0, 3)


def test_a_head_of_another_maker_is_asked(tmp_path: Path) -> None:
    """Such as a BERT with a dropout and classes of its own, and texts longer than it can read."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForMultipleChoice,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "good", "bad"]
    plain = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    labels = {"id2label": {0: "no", 1: "yes", 2: "maybe"}, "problem_type": "multi_label_classification"}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes, **labels)
    folder = tmp_path / "theirs"
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    origin = find_origin(str(folder), RunStore(tmp_path / "none"))
    shown = ask_loaded_model(load_asked_model(origin, "cpu"), "a good b")
    with torch.no_grad():
        chances = model(**tokenizer("a good b", return_tensors="pt")).logits[0].sigmoid().tolist()
    assert dict(shown.scores) == pytest.approx(
        dict(zip(("no", "yes", "maybe"), chances, strict=True)), abs=1e-5
    )
    assert len(ask_loaded_model(load_asked_model(origin, "cpu"), "a good b " * 40).scores) == 3
    masked = tmp_path / "masked"
    BertForMaskedLM(config).save_pretrained(masked)
    assert find_origin(str(masked), RunStore(tmp_path / "none")).task == "masked_lm"
    unknown = tmp_path / "unknown"
    BertForMultipleChoice(config).save_pretrained(unknown)
    with pytest.raises(ModelError, match="BertForMultipleChoice"):
        find_origin(str(unknown), RunStore(tmp_path / "none"))


def test_code_of_a_model_runs_only_where_one_has_agreed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.inference.model_places import remember_origin_consent

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = Path(shutil.copytree(tiny_model, tmp_path / "brings-code"))
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own_llama'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    values = json.loads((folder / "config.json").read_text())
    values |= {
        "model_type": "own_llama",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    origin = find_origin(str(folder), RunStore(tmp_path / "none"))
    with pytest.raises(ConfigError, match="have not agreed") as caught:
        ModelKeeper("cpu").load_all([origin])
    assert "--trust-remote-code" in caught.value.hint
    remember_origin_consent(origin)
    (loaded,) = ModelKeeper("cpu").load_all([origin])
    assert type(loaded.model).__name__ == "OwnModel"
    (folder / "own.py").write_text((folder / "own.py").read_text() + "# changed since\n")
    with pytest.raises(ConfigError, match="have not agreed"):
        ModelKeeper("cpu").load_all([origin])
