"""Every preset is valid, says on top what it does and how to run it, and is found by name."""

import re
from pathlib import Path

import pytest

from tui_tuner.config.load import load_config
from tui_tuner.config.presets import find_preset, find_presets_folder, list_presets
from tui_tuner.errors import ConfigError

NAMES = [preset.name for preset in list_presets()]


def test_the_folder_is_walked() -> None:
    files = sorted(path.stem for path in find_presets_folder().rglob("*") if path.is_file())
    assert files == NAMES
    assert {"demo", "demo-pretraining", "lora-small", "qlora-small", "lora-8b", "qlora-8b"} <= set(NAMES)
    assert {"full-small", "pretraining", "bert-qa", "distilbert-imdb", "token-tags"} <= set(NAMES)
    assert {"masked-lm", "t5-summary", "new-words", "p-tuning-chat"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_says_how_to_run_it(name: str) -> None:
    path = find_preset(name)
    load_config(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]
    command = re.compile(rf"#     tui-tuner (run {name}\b|demo\b)")
    assert any(command.match(line) for line in comment)
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_its_description_is_the_first_comment_line(name: str) -> None:
    preset = next(preset for preset in list_presets() if preset.name == name)
    assert preset.path.read_text(encoding="utf-8").startswith(f"# {preset.description}\n")
    assert len(preset.description) > 20


def test_quantised_presets_train_adapters_and_full_ones_do_not() -> None:
    for name in NAMES:
        config = load_config(find_preset(name))
        assert (config.model.quantization == "nf4") == (name.startswith("qlora") or name == "p-tuning-chat")
        whole = (
            "full-small",
            "pretraining",
            "demo-pretraining",
            "bert-qa",
            "token-tags",
            "masked-lm",
            "t5-summary",
        )
        assert (config.method.kind == "full") == (name in whole)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean lora-small"):
        find_preset("lora-smal")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "no-suffix"
    odd.write_text("task: sft\n", encoding="utf-8")
    assert find_preset(str(odd)) == odd
    assert find_preset("missing/job.yaml") == Path("missing/job.yaml")


def test_another_folder(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("task: sft\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("# Says \x1b[31mred\n", encoding="utf-8")
    found = list_presets(tmp_path)
    assert [(preset.name, preset.description) for preset in found] == [("a", "Says ␛[31mred"), ("b", "")]
    assert list_presets(tmp_path / "missing") == []


def test_the_preset_of_the_guide_of_chatglm2_has_its_values() -> None:
    """`ptuning/train.sh` of ChatGLM2-6B: 128 virtual tokens, 2e-2, 64 + 128 tokens, 1 x 16 rows, 4 bits."""
    path = find_preset("p-tuning-chat")
    config = load_config(path)
    assert config.method.kind == "p_tuning_v2" and config.method.virtual_tokens == 128
    assert config.method.encoder_size is None
    assert config.training.learning_rate == 2e-2
    assert config.training.batch_size == 16 and config.training.max_steps == 3000
    assert config.data.max_length >= 64 + 128 and config.evaluation.max_new_tokens == 128
    assert config.model.quantization == "nf4" and config.model.name.startswith("Qwen/Qwen3")
    text = path.read_text(encoding="utf-8")
    assert "AdvertiseGen" in text and "zai-org/glm-4-9b-chat-hf" in text
