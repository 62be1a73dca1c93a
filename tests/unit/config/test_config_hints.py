"""How mistakes in a config are told: peers' keys, what YAML made of a value, settings of the command."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from tui_tuner.config import peers
from tui_tuner.config.load import load_config
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_config_path
from tui_tuner.errors import ConfigError, TunerError, UsageError


def said(tmp_path: Path, text: str, *sets: str) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TunerError) as caught:
        load_config(path, sets)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_field_of_the_table_is_in_the_schema_and_every_key_is_a_peers() -> None:
    assert set(peers.KEYS.values()) <= {*list_options(), "task"}
    ours = {path.rpartition(".")[2] for path in list_options()}
    # a name of ours is looked up first, and needs no peer, unless the value says whose it is
    assert not ours & ({*peers.KEYS, *peers.WITHOUT} - set(peers.VALUES))
    assert not set(peers.KEYS) & set(peers.WITHOUT)
    assert set(peers.NOTES) <= set(peers.KEYS)
    assert set(peers.VALUES) <= set(peers.KEYS)
    known = {*peers.KEYS, *peers.WITHOUT, *ours}
    assert {name for signs in peers.SIGNS.values() for name in signs.split()} - known <= {
        "loftq_config", "fast_inference", "checkpointer", "metric_logger", "compile",
    }  # fmt: skip


def test_every_translated_value_is_valid() -> None:
    for key, table in peers.VALUES.items():
        for value, lines in table.items():
            values: dict[str, object] = {}
            for line in lines.split(", "):
                path, _unused, told = line.partition(": ")
                set_config_path(values, path, yaml.safe_load(told))
            if values.get("method") == {"kind": "freeze"}:
                set_config_path(values, "method.layers", 1)
            assert RunConfig.model_validate(values), (key, value)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("lr: 2e-4", "training.learning_rate"),
        ("doc_stride: 128", "data.stride"),
        ("null_score_diff_threshold: 0.0", "evaluation.null_threshold"),
        ("class_weight: balanced", "training.class_weights"),
        ("problem_type: multi_label_classification", "data.problem: multi"),
        ("task_type: SEQ_CLS", "task: classification"),
        ("task_type: QUESTION_ANS", "task: question_answering"),
        ("label_column_name: ner_tags", "data.columns"),
        ("cutoff_len: 512", "data.max_length"),
        ("per_device_train_batch_size: 2", "training.micro_batch"),
        ("micro_batch_size: 2", "training.micro_batch"),
        ("num_train_epochs: 3", "training.epochs"),
        ("lora_r: 8", "method.rank"),
        ("lora_rank: 8", "method.rank"),
        ("lora_alpha: 8", "method.alpha"),
        ("sequence_len: 2048", "data.max_length"),
        ("base_model: a/b", "model.name"),
        ("model_name_or_path: a/b", "model.name"),
        ("dataset: alpaca_en", "data.path"),
        ("datasets: [{path: rows.jsonl, type: alpaca}]", "data.path: rows.jsonl"),
        ("val_set_size: 0.1", "data.validation"),
        ("bf16: true", "training.autocast"),
        ("gradient_accumulation_steps: 8", "training.batch_size"),
        ("warmup_ratio: 0.1", "training.warmup"),
        ("lr_scheduler_type: cosine", "training.schedule: cosine"),
        ("template: qwen", "model.chat_template"),
        ("chat_template: chatml", "model.chat_template"),
        ("output_dir: out", "output.folder"),
        ("load_in_4bit: true", "model.quantization: nf4"),
        ("quantization_bit: 8", "model.quantization: int8"),
        ("finetuning_type: full", "method.kind: full"),
        ("stage: sft", "task: sft"),
        ("stage: pt", "task: pretraining"),
        ("stage: dpo", "task"),
        ("packing: true", "data.packing"),
        ("sample_packing: false", "data.packing: false"),
        ("adapter: qlora", "method.kind: lora, model.quantization: nf4"),
        ("flash_attention: true", "model.attention: auto"),
        ("save_steps: 100", "output.save_every"),
        ("logging_steps: 10", "training.report_every"),
        ("max_seq_length: 512", "data.max_length"),
        ("max_steps: 60", "training.max_steps"),
        ("optim: adamw_bnb_8bit", "training.optimizer: adamw_8bit"),
        ("torch_dtype: bfloat16", "model.dtype: bfloat16"),
        ("train_on_inputs: false", "data.train_on: all_answers"),
        ("per-device-train-batch-size: 2", "training.micro_batch"),
    ],
)
@pytest.mark.parametrize("section", ["", "training", "output"])
def test_a_peers_key_is_known_at_every_level(tmp_path: Path, key: str, field: str, section: str) -> None:
    if section and key.partition(":")[0] in ("chat_template", "max_steps", "packing"):
        pytest.skip("a key of ours")
    text = f"{section}:\n  {key}\n" if section else f"{key}\n"
    found = said(tmp_path, text)
    assert "unknown key" in found
    assert f" {field}." in found or f" {field}?" in found


def test_all_unknown_keys_are_told_at_once_and_whose_they_are(tmp_path: Path) -> None:
    for peer, text in {
        "LLaMA-Factory": "stage: sft\nfinetuning_type: lora\ncutoff_len: 1024\ntemplate: qwen\n",
        "axolotl": "base_model: a/b\ndatasets: [{path: a}]\nsequence_len: 512\nadapter: qlora\n",
        "transformers": "output_dir: a\nper_device_train_batch_size: 2\nnum_train_epochs: 3\nsave_steps: 5\n",
        "TRL": "dataset_name: a/b\nmodel_name_or_path: c/d\nuse_peft: true\nlora_r: 8\n",
        "Unsloth": "max_seq_length: 2048\nload_in_4bit: true\nr: 16\nlora_alpha: 16\nrandom_state: 3407\n",
        "torchtune": "model: {_component_: a}\ntraining: {lora_attn_modules: [q], apply_lora_to_mlp: true}\n",
    }.items():
        found = said(tmp_path, text)
        top = [
            line.partition(":")[0]
            for line in text.splitlines()
            if not line.startswith(("model:", "training:"))
        ]
        for key in top:
            assert f"unknown key '{key}'" in found
        assert f"config for {peer}" in found, found
    assert "config for" not in said(tmp_path, "training: {lr: 1, epochz: 2}\n")


def test_no_nonsense_is_suggested(tmp_path: Path) -> None:
    for key in ("zzz", "x1", "lrr", "foo_bar", "los_angeles"):
        found = said(tmp_path, f"training:\n  {key}: 1\n")
        meant = found.partition("Did you mean ")[2].rstrip("?\n")
        name = meant.rpartition(".")[2]
        assert not meant or difflib.SequenceMatcher(None, key, name).ratio() >= 0.75, found
    assert "Did you mean training.learning_rate?" in said(tmp_path, "training:\n  lerning_rate: 1\n")
    assert "Did you mean training.epochs?" in said(tmp_path, "method:\n  epoch_s: 1\n")
    assert "Did you mean evaluation?" in said(tmp_path, "evalution: {}\n")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('data:\n  path: "C:\\Users\\mara\\train.jsonl"\n', 2, "single quotes"),
        ('data:\n  path: "D:\\data"\n', 2, "single quotes"),
        ("data:\n\tpath: demo\n", 2, "There is a tab"),
        ("data: {path: demo}\ntraining: {epochs: 1}\ntraining: {batch_size: 2}\n", 3, "also on line 2"),
        ("model: {quantization: off}\n", 1, "YAML reads yes, no, on and off as true and false"),
        ("training:\n  epochs: 1,5\n", 2, "Write decimals with a dot"),
        ("training: {epochs: 1,5}\n", 1, "A comma separates values here"),
        ("model:\n  name: my model: a new one\n", 2, "needs quotes"),
    ],
)
def test_what_yaml_makes_of_it_is_said(tmp_path: Path, text: str, line: int, words: str) -> None:
    found = said(tmp_path, text)
    assert f"job.yaml:{line}:" in found
    assert words in found


def test_a_setting_is_blamed_itself(tmp_path: Path) -> None:
    text = "training:\n  epochs: 1\n  batch_size: 8\n"
    found = said(tmp_path, text, "training.epochs=fast")
    assert found.startswith("--set training.epochs=fast: training.epochs: expected a number")
    assert "job.yaml" not in found
    found = said(tmp_path, text + "  nonsense_here: 2\n", "training.batch_size=0")
    assert "--set training.batch_size=0: training.batch_size: expected" in found
    assert "job.yaml:4: unknown key" in found
    found = said(tmp_path, text, "data.columns={prompt: 1}")
    assert found.startswith("--set data.columns={prompt: 1}")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("lr=1", "Here it is training.learning_rate."),
        ("training.cutoff_len=5", "Here it is data.max_length."),
        ("stage=sft", "Here it is task: sft."),
        ("training.epoch_s=1", "Did you mean training.epochs?"),
        ("training.epochs", "has no `=`"),
        ('data.path="C:\\Users\\x"', "single quotes"),
    ],
)
def test_a_setting_that_is_none(tmp_path: Path, item: str, words: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("training:\n  epochs: 1\n")
    with pytest.raises(UsageError) as caught:
        load_config(path, [item])
    assert words in str(caught.value)
    assert "job.yaml" not in str(caught.value)


def test_a_sound_file_with_scientific_numbers_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text('training:\n  learning_rate: 2e-5\n  weight_decay: 1e-2\n  warmup: "0.03"\n')
    training = load_config(path, ["training.epochs=2"]).training
    assert (training.learning_rate, training.weight_decay, training.warmup) == (2e-5, 1e-2, 0.03)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "none.yaml")
