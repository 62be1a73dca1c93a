"""What is wrong with `--set` is blamed on it, with the field that was meant, and ends with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui_tuner.config.load import load_config
from tui_tuner.config.presets import find_preset
from tui_tuner.errors import ConfigError, DiskFullError, TunerError, UsageError
from tui_tuner.runs.store import RunStore

ROOT = Path(__file__).parents[3]


def refused(preset: str, *sets: str) -> TunerError:
    with pytest.raises((ConfigError, UsageError)) as caught:
        load_config(find_preset(preset), sets)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_wrong_value_is_blamed_on_its_setting() -> None:
    told = str(refused("demo", "training.epochs=abc"))
    assert (
        told.startswith("--set training.epochs=abc: training.epochs: expected a number")
        and "yaml" not in told
    )
    lines = str(refused("demo", "method.rank=x", "training.seed=y")).splitlines()
    assert lines[0].startswith("--set method.rank=x: ") and lines[1].startswith("--set training.seed=y: ")


def test_values_that_do_not_go_together_are_blamed_on_the_one_that_was_set() -> None:
    told = str(refused("qlora-8b", "method.kind=full"))
    assert told.startswith("--set method.kind=full: model.quantization: nf4 weights cannot be trained")


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("epochs=1", "Did you mean training.epochs?"),
        ("training.warmpu=1", "Did you mean training.warmup?"),
        ("training-epochs=1", "Did you mean training.epochs?"),
        ("foo.bar=1", "The sections are data, evaluation, hardware, method, model, output, training."),
        ("trainig.foo=1", "Did you mean the section training? Its fields are learning_rate, epochs,"),
        ("training.zzzz=1", "Known keys are learning_rate, epochs,"),
        ("data=3", "data is a section, not a field. Its fields are path, format,"),
        ("data.cleaning=3", "data.cleaning is a section, not a field. Its fields are exact_duplicates,"),
    ],
)
def test_a_name_that_is_no_field_leads_to_one(setting: str, hint: str) -> None:
    told = str(refused("demo", setting))
    assert told.startswith("--set: ") and hint in told


def test_a_folder_that_cannot_be_made_is_a_wrong_config_and_a_full_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.config.schema import RunConfig

    with pytest.raises(UsageError, match="a run cannot be stored here"):
        RunStore("/proc/x").create_run(RunConfig())

    def full(*_unused: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFullError, match="No space left"):
        RunStore(tmp_path / "runs").create_run(RunConfig())


def test_the_command_ends_with_two_and_blames_the_setting(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui_tuner", "run", "demo", "--set", "output.folder=/proc/x"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "(--set output.folder=/proc/x)" in done.stderr
