"""Code that comes with a model runs only where this user has agreed to it; a run folder brings no consent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui_tuner.config import consent
from tui_tuner.config.load import build_config, load_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.launch.run_host import require_run_consent
from tui_tuner.runs.store import RunFolder, RunStore

MAIN = [sys.executable, "-m", "tui_tuner"]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(consent, "_here", set())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.C"}})
    )
    (folder / "own.py").write_text("open('/nowhere', 'w')")
    return folder


def _config(model: Path | str, tmp_path: Path, **more: object) -> RunConfig:
    return build_config(
        {
            "model": {"name": str(model), "trust_remote_code": True, **more},
            "data": {"path": "demo"},
            "output": {"folder": str(tmp_path / "runs")},
        }
    )


def _foreign(tmp_path: Path, model: Path | str) -> RunFolder:
    """A run folder as somebody else's archive would leave it."""
    from tui_tuner.config.load import dump_config

    folder = RunFolder(tmp_path / "runs" / "theirs")
    folder.path.mkdir(parents=True)
    (folder.path / "config.yaml").write_text(dump_config(_config(model, tmp_path)))
    (folder.path / "config.resolved.yaml").write_text(dump_config(_config(model, tmp_path)))
    (folder.path / "manifest.json").write_text("{}")
    return folder


def test_who_starts_a_run_has_agreed_and_that_is_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(model, tmp_path)
    assert not consent.is_code_allowed(config.model)
    folder = RunStore(tmp_path / "runs").create_run(config)
    monkeypatch.setattr(consent, "_here", set())  # another process
    require_run_consent(folder, folder.load_config())
    kept = tmp_path / "state" / "tui-tuner" / "consents.json"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    renamed = folder.path.rename(folder.path.with_name("other"))
    require_run_consent(RunFolder(renamed), RunFolder(renamed).load_config())


@pytest.mark.parametrize("change", ["own.py", "new.py", "config.json", "moved"])
def test_other_code_is_not_what_was_agreed_to(model: Path, tmp_path: Path, change: str) -> None:
    consent.record_code_consent(_config(model, tmp_path).model)
    assert consent.is_code_allowed(_config(model, tmp_path).model)
    if change == "moved":
        model = model.rename(tmp_path / "elsewhere")
    else:
        (model / change).write_text("{}")
    assert not consent.is_code_allowed(_config(model, tmp_path).model)


def test_a_revision_of_a_hub_is_agreed_to_alone(tmp_path: Path) -> None:
    consent.record_code_consent(_config("some/model", tmp_path, revision="abc").model)
    assert consent.is_code_allowed(_config("some/model", tmp_path, revision="abc").model)
    assert not consent.is_code_allowed(_config("some/model", tmp_path).model)
    assert not consent.is_code_allowed(_config("other/model", tmp_path, revision="abc").model)
    assert not consent.is_code_allowed(_config("some/model", tmp_path, revision="abc", tokenizer="x/y").model)


def test_a_strangers_run_folder_is_refused_everywhere(model: Path, tmp_path: Path) -> None:
    folder = _foreign(tmp_path, model)
    with pytest.raises(ConfigError, match="have not agreed") as raised:
        require_run_consent(folder, folder.load_config())
    assert "--trust-remote-code" in raised.value.hint and "model.trust_remote_code" in raised.value.where
    from tui_tuner.launch.run_host import host_run
    from tui_tuner.runs.control import CommandReceiver

    with pytest.raises(ConfigError, match="have not agreed"):
        host_run(folder, CommandReceiver(folder.control_path), resume=True)
    with pytest.raises(ConfigError, match="have not agreed"):
        load_config(folder.path / "config.yaml")
    load_config(folder.path / "config.yaml", ["model.trust_remote_code=true"])
    mine = tmp_path / "mine.yaml"
    mine.write_text((folder.path / "config.yaml").read_text())
    assert load_config(mine).model.trust_remote_code, "a config is the user's word"


def test_resume_asks_for_the_flag(model: Path, tmp_path: Path) -> None:
    folder = _foreign(tmp_path, model)
    command = [*MAIN, "resume", str(folder.path), "--no-tui"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert refused.returncode == 2 and "--trust-remote-code" in refused.stderr
    assert "Traceback" not in refused.stderr and not folder.events_path.exists()
    consent.record_code_consent(folder.load_config().model)
    assert consent.is_code_allowed(folder.load_config().model)


@pytest.mark.parametrize("damage", ["{", "[]", "link", "others", "folder"])
def test_a_planted_or_damaged_list_of_consents_counts_for_nothing(
    model: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(model, tmp_path)
    consent.record_code_consent(config.model)
    kept = tmp_path / "state" / "tui-tuner" / "consents.json"
    monkeypatch.setattr(consent, "_here", set())
    assert consent.is_code_allowed(config.model)
    if damage == "link":
        kept.rename(tmp_path / "other.json")
        kept.symlink_to(tmp_path / "other.json")
    elif damage == "others":
        kept.chmod(0o666)
    elif damage == "folder":
        kept.unlink()
        kept.mkdir()
    else:
        kept.write_text(damage)
    assert not consent.is_code_allowed(config.model)


def test_where_nothing_can_be_kept_the_word_holds_for_this_process(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nothing")
    config = _config(model, tmp_path)
    assert not consent.record_code_consent(config.model) and consent.is_code_allowed(config.model)
    assert os.environ["XDG_STATE_HOME"] == "/proc/nothing"


def test_without_code_nobody_is_asked(tmp_path: Path) -> None:
    plain = build_config({"model": {"name": "some/model"}, "data": {"path": "demo"}})
    assert consent.is_code_allowed(plain.model) and consent.record_code_consent(plain.model)
    assert not (tmp_path / "state").exists()
