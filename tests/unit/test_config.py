"""RunConfig from YAML, `--set` and forms: every mistake named, with its line and the nearest key."""

from pathlib import Path

import pytest
import yaml

from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.load import (
    apply_config_sets,
    build_config,
    dump_config,
    find_config_problems,
    load_config,
)
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, UsageError


def _write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_config_survives_its_own_yaml() -> None:
    config = RunConfig.model_validate(
        {"training": {"learning_rate": 3e-5, "epochs": 2}, "data": {"path": ["a", "b"]}}
    )
    again = RunConfig.model_validate(yaml.safe_load(dump_config(config)))
    assert again == config
    assert yaml.safe_load(dump_config(config, changed_only=True)) == {
        "training": {"learning_rate": 3e-5, "epochs": 2.0},
        "data": {"path": ["a", "b"]},
    }


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, "training:\n  learning_rate: 2e-5\n"))
    assert config.training.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("task: sft\ntraining:\n  lerning_rate: 1\n", 3, "Did you mean training.learning_rate?"),
        ("learning_rate: 1\n", 1, "Did you mean training.learning_rate?"),
        ("training:\n  epochs: -1\n", 2, "training.epochs: expected a number above 0"),
        ("training:\n  epochs: .nan\n", 2, "training.epochs: expected a number above 0"),
        ("method:\n  kind: lroa\n", 2, "unknown method 'lroa'"),
        ("model:\n  quantization: nf4\nmethod:\n  kind: full\n", 2, "use lora, or quantization none"),
        ("task: sft\ntask: sft\n", 2, "duplicate key task"),
        ("task: [\n", 2, "not valid YAML"),
        ("training:\n  batch_size: 2\n  micro_batch: 4\n", 3, "more than training.batch_size"),
        ("model:\n  quantization: nf4\nmethod:\n  kind: loha\n", 2, "use lora, or quantization none"),
        (
            "method: {kind: prefix_tuning}\ntraining:\n  gradient_checkpointing: true\n",
            3,
            "leave out the prefix",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert f"job.yaml:{line}" in caught.value.where
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "content", [b"", b"- a\n- b\n", b"\xff\xfe\x00", b"just words", b"a: !!python/object:os.system x"]
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_missing_file_says_where_presets_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tui-tuner presets"):
        load_config(tmp_path / "absent.yaml")


def test_set_takes_yaml_values() -> None:
    values: dict[str, object] = {"training": {"epochs": 1}}
    apply_config_sets(
        values,
        ["training.epochs=2", "data.validation=null", "data.columns={prompt: q}", "data.columns.response=a"],
    )
    config = build_config(values)
    assert config.training.epochs == 2
    assert config.data.validation is None
    assert config.data.columns == {"prompt": "q", "response": "a"}


@pytest.mark.parametrize("item", ["training.epochs", "training.epoch=1", "=1", "data.columns={"])
def test_bad_sets(item: str) -> None:
    with pytest.raises(UsageError):
        apply_config_sets({}, [item])


def test_a_field_without_a_value_and_one_of_true_false_and_words() -> None:
    with pytest.raises(ConfigError, match=r"rank: .* 4,096, got nothing\. Remove the field to use its"):
        build_config({"method": {"rank": None}})
    with pytest.raises(ConfigError, match=r"compile: expected true, false or auto, got 'maybe'\."):
        build_config({"training": {"compile": "maybe"}})
    assert (
        list_options()["training.gradient_checkpointing"].describe_expected()
        == "true, false, auto, every_second or offload"
    )
    assert list_options()["model.double_quant"].describe_expected() == "true or false"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("method.style=pfeifer", "pfeiffer, houlsby or parallel"),
        ("method.non_linearity=rleu", "swish"),
        ("method.layer_norm=befor", "none, before or after"),
        ("method.targets=model.(layers[0", "no regular expression"),
        ("method.targets=[]", "a name is missing"),
        ("method.targets=''", "a name is missing"),
    ],
)
def test_words_and_patterns_of_a_method_are_checked_before_a_run(item: str, words: str) -> None:
    values: dict[str, object] = {}
    apply_config_sets(values, [item])
    with pytest.raises(ConfigError, match=words) as caught:
        build_config(values)
    assert caught.value.field == item.partition("=")[0]


def test_targets_with_commas_between_them_are_a_list() -> None:
    method = RunConfig.model_validate({"method": {"targets": "q_proj, v_proj"}}).method
    assert method.targets == ["q_proj", "v_proj"]
    counted = r"layers\.[0-9]{1,2}\.mlp\..*"
    assert RunConfig.model_validate({"method": {"targets": counted}}).method.targets == counted


def test_every_field_has_help_and_reaches_its_default() -> None:
    config = RunConfig()
    assert len(list_options()) > 60
    for path, option in list_options().items():
        assert option.help, path
        assert option.describe_expected(), path
        assert get_config_value(config, path) == option.default


def test_a_form_gets_the_sentence_for_its_field() -> None:
    problems = find_config_problems({"training": {"learning_rate": "fast"}, "evaluation": {"samples": 1}})
    assert list(problems) == ["training.learning_rate"]
    assert "above 0" in problems["training.learning_rate"]


def test_relative_paths_become_absolute_only_where_they_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.config.load import make_paths_absolute

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    config = build_config({"data": {"path": ["rows.jsonl", "some/hub-set"]}, "model": {"name": "org/model"}})
    before = config.model_copy(deep=True)
    found = make_paths_absolute(config)
    assert config == before  # a new config; the given one stays
    config = found
    assert config.data.path == [str(tmp_path / "rows.jsonl"), "some/hub-set"]
    assert config.model.name == "org/model"


def test_the_readme_names_every_method() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [kind for kind in METHODS if f"`{kind}`" not in readme] == []
