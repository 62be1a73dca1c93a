"""`demo` and `tiny` mean rows and a model of the task's own; values of a preset give way to such a model."""

from pathlib import Path

import pytest

from tui_tuner.config.kinds.tasks import TASKS, TINY_NAMES
from tui_tuner.config.load import build_config, dump_config, load_config
from tui_tuner.config.presets import find_preset
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError

SETS = ["model.name=tiny", "data.path=demo"]
PRESETS = {
    "bert-qa": ("tiny-bert", "demo-questions"),
    "distilbert-imdb": ("tiny-distilbert", "demo-reviews"),
    "token-tags": ("tiny-bert", "demo-tags"),
    "t5-summary": ("tiny-t5", "demo-summaries"),
    "masked-lm": ("tiny-bert", "demo-texts"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_tried_with_the_model_and_rows_of_its_task(name: str) -> None:
    said: list[str] = []
    config = load_config(find_preset(name), SETS, said.append)
    assert (config.model.name, config.data.path) == PRESETS[name]
    rate = load_config(find_preset(name)).training.learning_rate
    assert config.training.learning_rate > rate  # type: ignore[operator]
    wanted = f"training.learning_rate is {config.training.learning_rate} instead of {rate}: "
    assert any(note.startswith(wanted) and "random weights" in note for note in said)


def test_the_presets_are_those_of_the_guides() -> None:
    qa, imdb = load_config(find_preset("bert-qa")), load_config(find_preset("distilbert-imdb"))
    assert (qa.model.name, qa.training.learning_rate, qa.training.batch_size) == (
        "bert-base-uncased",
        2e-5,
        8,
    )
    assert (qa.method.kind, qa.data.max_length, qa.data.stride) == ("full", 384, 128)
    method = imdb.method
    assert (method.kind, method.rank, method.alpha, method.dropout, method.targets) == (
        "lora", 1, 32, 0.01, ["q_lin"],
    )  # fmt: skip
    training = imdb.training
    assert (training.learning_rate, training.epochs, imdb.data.limit) == (1e-3, 10, 1000)


def test_what_the_user_sets_stays() -> None:
    said: list[str] = []
    sets = [*SETS, "training.learning_rate=5e-4", "training.epochs=1"]
    config = load_config(find_preset("bert-qa"), sets, said.append)
    assert (config.training.learning_rate, config.training.epochs) == (5e-4, 1)
    assert [note.split()[0] for note in said] == ["training.batch_size"]


def test_a_file_of_ones_own_is_taken_at_its_word(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "task: token_classification\nmodel: {name: tiny}\ntraining: {learning_rate: 2.0e-5}\n",
        encoding="utf-8",
    )
    said: list[str] = []
    config = load_config(file, (), said.append)
    assert config.training.learning_rate == 2e-5 and said == []
    assert config.training.batch_size == 16, "what the file leaves open is what such a model learns with"


def test_the_config_of_a_run_stays_as_it_is(tmp_path: Path) -> None:
    config = load_config(find_preset("token-tags"), [*SETS, "training.epochs=2"])
    kept = tmp_path / "config.yaml"
    kept.write_text(dump_config(config), encoding="utf-8")
    said: list[str] = []
    assert load_config(kept, (), said.append) == config and said == []


def test_every_source_named_demo_is_the_tasks_own() -> None:
    config = build_config(
        {"task": "classification", "data": {"path": ["demo", {"path": "demo", "weight": 2}, "a"]}}
    )
    first, second, third = config.data.path
    assert (first, second.path, second.weight, third) == ("demo-reviews", "demo-reviews", 2, "a")
    assert build_config({"data": {"path": "demo"}}).data.path == "demo"
    assert edit_values(config, {"training.epochs": 1}).data.path == config.data.path


@pytest.mark.parametrize("task", [name for name, kind in TASKS.items() if not kind.tiny])
def test_a_model_that_writes_is_not_tiny(task: str) -> None:
    with pytest.raises(ConfigError, match="use demo, the small model inside this package"):
        build_config({"task": task, "model": {"name": "tiny"}})


def test_a_folder_of_that_name_is_no_model(tmp_path: Path) -> None:
    for name in ("tiny", *TINY_NAMES):
        (tmp_path / name).mkdir()
        file = tmp_path / "own.yaml"
        file.write_text(f"task: classification\nmodel: {{name: {name}}}\n", encoding="utf-8")
        assert load_config(file).model.name in TINY_NAMES
