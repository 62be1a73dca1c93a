"""What is wrong with a config is said before there is a run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tui_tuner import demo
from tui_tuner.cli import main
from tui_tuner.config.kinds import optimizers
from tui_tuner.config.load import build_config, load_config
from tui_tuner.errors import (
    EXIT_CONFIG,
    EXIT_DATA,
    ConfigError,
    DataError,
    HardwareError,
    ModelError,
    UsageError,
)
from tui_tuner.launch.beforehand import check_beforehand
from tui_tuner.launch.run_host import host_run
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.store import RunStore


def check(values: dict[str, Any]) -> None:
    check_beforehand(build_config(values))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(demo.MODEL_DIR, folder)
    return folder


def test_a_sound_config_passes(rows: Path, model: Path) -> None:
    check({})
    check({"model": {"name": str(model)}, "data": {"path": str(rows), "validation": str(rows)}})
    check({"model": {"name": "some/hub-model"}, "hardware": {"devices": "cpu"}})


def test_an_optimizer_that_suits_no_weight_is_refused() -> None:
    """A matrix of LoRA with rank 16 has no more than 16 dimensions to choose from."""
    for name, method in (("galore", "lora"), ("apollo", "prompt_tuning"), ("muon", "ia3")):
        with pytest.raises(ConfigError, match=name) as refused:
            check({"method": {"kind": method}, "training": {"optimizer": name}})
        assert refused.value.field == "training.optimizer" and "Use adamw" in refused.value.hint
    for changes in ({"method": {"kind": "full"}}, {"method": {"rank": 32}}):
        check(changes | {"training": {"optimizer": "galore"}})


def test_an_optimizer_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "explain_absence", lambda name: f"{name} is not installed.")
    with pytest.raises(ConfigError, match="schedule_free") as refused:
        check({"training": {"optimizer": "schedule_free"}})
    assert refused.value.field == "training.optimizer"
    assert "pip install 'tui-tuner[optimizers]'" in refused.value.hint


@pytest.mark.parametrize("name", ["THUDM/chatglm2-6b", "ZhipuAI/chatglm3-6b", "THUDM/glm-4-9b-chat"])
def test_models_with_code_of_an_older_transformers_need_consent(name: str) -> None:
    with pytest.raises(ModelError, match="code of its own, written for a transformers of 2023") as refused:
        check({"model": {"name": name}})
    assert refused.value.field == "model.name"
    assert "zai-org/glm-4-9b-chat-hf" in refused.value.hint and "Qwen/Qwen3-4B" in refused.value.hint
    for other in ("zai-org/glm-4-9b-chat-hf", "my/chatglm2-6b-hf"):
        check({"model": {"name": other}, "hardware": {"devices": "cpu"}})
    check({"model": {"name": name, "trust_remote_code": True}, "hardware": {"devices": "cpu"}})


def test_so_do_folders_with_such_code(model: Path) -> None:
    told = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**told, "model_type": "chatglm"}))
    with pytest.raises(ModelError, match="ChatGLM"):
        check({"model": {"name": str(model)}})


@pytest.mark.parametrize("field", ["path", "validation"])
def test_missing_and_empty_data(tmp_path: Path, field: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        check({"data": {field: str(tmp_path / "none.jsonl")}})
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        check({"data": {field: str(tmp_path / "empty.jsonl")}})


def test_rows_that_are_all_refused_are_told_with_the_first_of_them(tmp_path: Path, rows: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt":\n{"prompt": "a"\n')
    with pytest.raises(DataError, match="no row can be trained on: 2 of 2 rows: broken JSON") as caught:
        check({"data": {"path": str(broken)}})
    assert caught.value.where == f"{broken}:1"
    assert "tui-tuner data inspect FILE" in str(caught.value.hint)
    with pytest.raises(DataError, match="no row can be trained on"):
        check({"data": {"path": str(rows), "validation": str(broken)}})
    check({"data": {"path": [str(broken), str(rows)]}})  # a file that holds some: the ledger judges the rest


def test_model_folders_that_lack_something(model: Path) -> None:
    kept = model / "kept"
    (model / "model.safetensors").rename(kept)
    with pytest.raises(ModelError, match="holds no weights"):
        check({"model": {"name": str(model)}})
    kept.rename(model / "model.safetensors")
    for tokenizer in model.glob("token*"):
        tokenizer.unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        check({"model": {"name": str(model)}})
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        check({"model": {"name": str(model)}})


def test_damaged_model_files_are_named(model: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ModelError, match=r"model\.safetensors: is damaged: it has [\d,]+ bytes, but its header"
    ):
        check({"model": {"name": str(model)}})
    weights.write_bytes(b"\xff" * 1000)
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged"):
        check({"model": {"name": str(model)}})
    weights.write_bytes(whole)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"1 of 2 weight files are missing, such as model-2"):
        check({"model": {"name": str(model)}})
    (model / "model.safetensors.index.json").unlink()
    (model / "tokenizer.json").write_text('{"version":\n')
    with pytest.raises(ModelError, match=r"tokenizer\.json:\d+: is damaged"):
        check({"model": {"name": str(model)}})
    (model / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json: has no model_type"):
        check({"model": {"name": str(model)}})
    (model / "config.json").write_text('{"a":')
    with pytest.raises(ModelError, match=r"config\.json: is not valid JSON"):
        check({"model": {"name": str(model)}})


def test_devices_metrics_templates_and_phrases() -> None:
    with pytest.raises(HardwareError, match="asks for 4000 GPUs"):
        check({"hardware": {"devices": 4000}})
    with pytest.raises(ConfigError, match="unknown metric 'nonsense'"):
        check({"evaluation": {"metrics": ["nonsense"]}})
    with pytest.raises(ConfigError, match=r"evaluation\.best: 'nonsense' is not measured"):
        check({"evaluation": {"best": "nonsense"}})
    with pytest.raises(ConfigError, match="on generated answers, and none are scored"):
        check({"evaluation": {"best": "rougeL"}})
    check({"evaluation": {"best": "rouge_l", "metric_rows": 4}})
    with pytest.raises(ModelError, match="not a readable chat template"):
        check({"model": {"chat_template": "/none.jinja"}})
    with pytest.raises(DataError, match="no such file"):
        check({"data": {"cleaning": {"refusals": True, "phrases": "/none.yaml"}}})


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [("data.path", "none.jsonl", EXIT_DATA), ("hardware.devices", "4000", EXIT_CONFIG)],
)
def test_a_refused_config_leaves_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    field: str,
    value: str,
    code: int,
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("task: sft\n")
    runs = tmp_path / "runs"
    arguments = ["run", str(config), "--no-tui", "--runs", str(runs), "--set", f"{field}={value}"]
    monkeypatch.setattr("sys.argv", ["tui-tuner", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not runs.exists()


def two_gpus() -> Hardware:
    gpus = tuple(Gpu(index, "NVIDIA A100", 80.0, 79.0, (8, 0)) for index in range(2))
    return Hardware(gpus=gpus, memory_gib=256.0)


@pytest.mark.parametrize("command", [["run", "--no-tui"], ["lr"], ["doctor", "--resume"]])
def test_several_devices_are_refused_with_a_clear_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    monkeypatch.setattr("tui_tuner.planning.hardware.detect_hardware", two_gpus)
    check({"hardware": {"devices": 1}})
    config = tmp_path / "c.yaml"
    config.write_text(f"output: {{folder: {tmp_path / 'runs'}}}\nhardware: {{devices: 2}}\n")

    def refused() -> str:
        monkeypatch.setattr("sys.argv", ["tui-tuner", *command, str(config)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == EXIT_CONFIG and not (tmp_path / "runs").exists()
        return capsys.readouterr().err

    said = refused()
    assert said.startswith("error: hardware.devices: asks for 2 GPUs") and "Set it to 1 or auto" in said
    config.write_text(f"output: {{folder: {tmp_path / 'runs'}}}\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused()
    assert said.startswith("error: WORLD_SIZE: this is one of 2 processes") and "torchrun" in said


def test_estimates_are_made_for_several_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("hardware: {devices: 2}\n")
    monkeypatch.setattr("sys.argv", ["tui-tuner", "estimate", str(config), "--gpu", "2xH100"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code and "H100" in capsys.readouterr().out


def test_one_of_several_processes_resumes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunStore(tmp_path).create_run(build_config({}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one of 2 processes"):
        host_run(folder, CommandReceiver(folder.control_path), resume=True)
    assert folder.find_state() == "new"


def test_one_device_trains_and_one_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.training.surroundings import name_training_device

    monkeypatch.setattr("tui_tuner.planning.hardware.detect_hardware", two_gpus)
    assert name_training_device(build_config({"hardware": {"devices": 2}})) == "NVIDIA A100"


def test_a_runs_folder_that_is_a_file_is_named(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(UsageError, match="is a file, not a folder"):
        RunStore(rows).create_run(build_config({}))


def test_every_problem_of_a_config_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("trainin: {}\nmodel:\n  nam: demo\ntraining:\n  epochs: -1\n")
    with pytest.raises(ConfigError) as found:
        load_config(path)
    said = str(found.value)
    assert {"c.yaml:3: unknown key 'model.nam'", "c.yaml:1: unknown key 'trainin'"} <= {
        part.partition(". Did")[0].rpartition("/")[2] for part in said.splitlines()
    }
    assert "c.yaml:5: training.epochs" in said
