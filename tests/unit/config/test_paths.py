"""Paths in a config: next to its file first, then in the working folder, and both named if neither has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tui_tuner.config.load import build_config, load_config, make_paths_absolute
from tui_tuner.config.options import list_options
from tui_tuner.config.paths import PATHS, explain_missing_path
from tui_tuner.data.chat.template_choice import read_template
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import EXIT_DATA, ConfigError, DataError, ModelError
from tui_tuner.models.loading import find_model_source
from tui_tuner.runs.store import RunStore

ROW = json.dumps({"prompt": "What is it?", "response": "A boat."}) + "\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder for a config, and the working folder."""
    folder, here = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return folder, here


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_every_path_of_a_config_is_looked_for_next_to_it(place: tuple[Path, Path]) -> None:
    folder, _here = place
    for name in ("rows.jsonl", "more.jsonl", "held.jsonl", "chat.jinja", "words.yaml"):
        (folder / name).write_text(ROW)
    (folder / "model").mkdir()
    (folder / "tokens").mkdir()
    path = written(
        folder,
        {
            "model": {"name": "model", "tokenizer": "./tokens", "chat_template": "chat.jinja"},
            "data": {
                "path": [
                    "rows.jsonl",
                    {"path": "more.jsonl", "weight": 2},
                    "*.jsonl",
                    "owner/name",
                    "hub:a/b",
                ],
                "validation": "held.jsonl",
                "cleaning": {"phrases": "words.yaml"},
            },
        },
    )
    notes: list[str] = []
    config = load_config(os.path.relpath(path), say=notes.append)
    first, second, pattern, hub, told = config.data.path
    assert first == str(folder / "rows.jsonl")
    assert second.path == str(folder / "more.jsonl")
    assert second.weight == 2
    assert pattern == str(folder / "*.jsonl")
    assert (hub, told) == ("owner/name", "hub:a/b")
    assert config.data.validation == str(folder / "held.jsonl")
    assert config.data.cleaning.phrases == str(folder / "words.yaml")
    assert config.model.name == str(folder / "model")
    assert config.model.tokenizer == str(folder / "tokens")
    assert config.model.chat_template == str(folder / "chat.jinja")
    assert notes == []


def test_the_working_folder_is_second(place: tuple[Path, Path]) -> None:
    folder, here = place
    (here / "rows.jsonl").write_text(ROW)
    config = load_config(written(folder, {"data": {"path": "rows.jsonl"}}))
    assert config.data.path == "rows.jsonl"
    assert make_paths_absolute(config).data.path == str(here / "rows.jsonl")


def test_what_is_in_both_places_is_said(place: tuple[Path, Path]) -> None:
    folder, here = place
    for one in (folder, here):
        (one / "rows.jsonl").write_text(ROW)
    notes: list[str] = []
    config = load_config(written(folder, {"data": {"path": "rows.jsonl"}}), say=notes.append)
    assert config.data.path == str(folder / "rows.jsonl")
    assert len(notes) == 1
    assert str(folder / "rows.jsonl") in notes[0]


def test_settings_are_relative_to_the_working_folder(place: tuple[Path, Path]) -> None:
    folder, here = place
    for one in (folder, here):
        (one / "rows.jsonl").write_text(ROW)
    path = written(folder, {"data": {"path": "other.jsonl"}})
    notes: list[str] = []
    config = load_config(path, ["data.path=rows.jsonl"], notes.append)
    assert make_paths_absolute(config).data.path == str(here / "rows.jsonl")
    assert not notes


def test_a_word_is_no_path_and_a_preset_has_no_folder(place: tuple[Path, Path]) -> None:
    from tui_tuner.config.presets import find_preset

    folder, _here = place
    (folder / "demo").mkdir()
    config = load_config(written(folder, {"data": {"path": "demo"}, "model": {"name": "demo"}}))
    assert (config.data.path, config.model.name) == ("demo", "demo")
    assert load_config(find_preset("demo")).data.path == "demo"


def test_an_error_names_both_places(place: tuple[Path, Path]) -> None:
    folder, here = place
    config = load_config(
        written(
            folder,
            {
                "data": {"path": "sub/rows.jsonl"},
                "model": {"name": "./model-folder", "chat_template": "own.jinja"},
            },
        )
    )
    with pytest.raises(DataError) as data:
        resolve_data_paths(config.data)
    with pytest.raises(ModelError) as model:
        find_model_source(config.model)
    with pytest.raises(ModelError) as template:
        read_template(str(config.model.chat_template))
    for error, name in ((data, "sub/rows.jsonl"), (model, "model-folder"), (template, "own.jinja")):
        assert str(folder / name) in error.value.hint
        assert str(here / name) in error.value.hint


@pytest.mark.parametrize(
    ("written_as", "words"),
    [
        ("'{path}'", "Write it without quotes or escapes: {path}"),
        ('"{path}" ', "Write it without quotes or escapes: {path}"),
        ("file://{url}", "Write it without quotes or escapes: {path}"),
        ("{escaped}", "Write it without quotes or escapes: {path}"),
        ("C:\\Users\\mara\\rows.jsonl", "Windows path"),
        ("C:\temp\new.jsonl", "a tab or a line break"),
        ("data\temp.jsonl", "tab"),
        ("$DATA/rows.jsonl", "Environment variables"),
    ],
)
def test_a_pasted_path_is_explained(tmp_path: Path, written_as: str, words: str) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    path = folder / "rows.jsonl"
    path.write_text(ROW)
    known = {"path": path, "url": str(path).replace(" ", "%20"), "escaped": str(path).replace(" ", "\\ ")}
    pasted = written_as.format(**known)
    assert words.format(**known) in explain_missing_path(pasted)
    data = build_config({"data": {"path": pasted}})
    if "without quotes" in words:  # data is read from where the path leads; a run keeps it plain
        assert [file.path for file in resolve_data_paths(data.data)[0].files] == [str(path)]
        assert make_paths_absolute(data).data.path == str(path)
    else:
        with pytest.raises(DataError) as caught:
            resolve_data_paths(data.data)
        assert words in caught.value.hint


def test_a_run_keeps_absolute_paths_and_patterns(place: tuple[Path, Path], tmp_path: Path) -> None:
    folder, here = place
    (folder / "rows-1.jsonl").write_text(ROW)
    (here / "own.jsonl").write_text(ROW)
    path = written(folder, {"data": {"path": ["rows-*.jsonl", "own.jsonl"]}})
    made = RunStore(tmp_path / "runs").create_run(load_config(path))
    os.chdir(tmp_path)
    kept = made.load_config()
    assert kept.data.path == [str(folder / "rows-*.jsonl"), str(here / "own.jsonl")]
    assert [len(one.files) for one in resolve_data_paths(kept.data)] == [1, 1]


def test_every_field_with_a_path_is_known() -> None:
    """A field whose help speaks of a file or folder is looked for next to the config."""
    speaks = {
        path
        for path, option in list_options().items()
        if str in option.kinds and any(word in option.help.lower() for word in (" file", "folder"))
    }
    # That of new tokens is inside a mapping: {file: FILE}
    speaks.add("model.new_tokens")
    assert speaks - {"output.folder", "data.field", "data.encoding"} == set(PATHS)


HOOK = """
import atexit, sys
def tell():
    with open({path!r}, "a") as file:
        file.write("torch" if "torch" in sys.modules else "nothing")
atexit.register(tell)
"""


def command(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """`python -m tui_tuner …` in a process of its own; and whether torch was imported in it."""
    hooks, told = tmp_path / "hooks", tmp_path / "told"
    hooks.mkdir(exist_ok=True)
    told.unlink(missing_ok=True)
    (hooks / "sitecustomize.py").write_text(HOOK.format(path=str(told)))
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-m", "tui_tuner", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        check=False,
        env=os.environ
        | {"PYTHONPATH": f"{hooks}{os.pathsep}{root}", "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    return done, told.read_text() if told.exists() else ""


BAD: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "no such file"),
    "empty": (b"", "is empty"),
    "binary": (b"\x00\x01\x02\x03" * 100, "can"),
    "unknown columns": (b'{"a": 1, "b": 2}\n' * 3, "not recognised"),
    "another task's": (b'{"text": "Only a text, without an answer."}\n' * 3, "no answers to train on"),
}


@pytest.mark.parametrize("kind", BAD)
def test_wrong_data_is_told_before_torch_is_imported(tmp_path: Path, kind: str) -> None:
    content, words = BAD[kind]
    name = "rows.bin" if kind == "binary" else "rows.jsonl"
    if content is not None:
        (tmp_path / name).write_bytes(content)
    written(tmp_path, {"data": {"path": name}})
    done, imported = command(tmp_path, "run", "run.yaml", "--no-tui")
    assert done.returncode == EXIT_DATA, done.stderr
    assert words in done.stderr
    assert name in done.stderr
    assert imported == "nothing"
    assert not list((tmp_path / "runs").glob("*"))


def test_a_run_that_goes_on_says_so_of_its_data_too(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROW)
    config = build_config({"data": {"path": str(tmp_path / "rows.jsonl")}, "output": {"name": "again"}})
    RunStore(tmp_path / "runs").create_run(config)
    (tmp_path / "rows.jsonl").unlink()
    done, imported = command(tmp_path, "resume", "again", "--no-tui")
    assert done.returncode == EXIT_DATA, done.stderr
    assert "no such file" in done.stdout + done.stderr
    assert imported == "nothing"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    assert "tui-tuner" in command(tmp_path, "--version")[0].stdout
    listed = command(tmp_path, "--help")[0].stdout
    for name in (
        "run",
        "resume",
        "demo",
        "data",
        "runs",
        "estimate",
        "lr",
        "doctor",
        "presets",
        "attach",
        "stop",
    ):
        assert name in listed
        done, imported = command(tmp_path, name, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage: tui-tuner" in done.stdout
        assert imported == "nothing"
    assert command(tmp_path, "presets")[0].returncode == 0
    done, _imported = command(tmp_path, "run", "nothing.yaml")
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr


def test_a_link_to_a_run_folder_brings_no_consent(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "theirs"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").touch()
    (folder / "config.yaml").write_text(f"model: {{name: {tmp_path}, trust_remote_code: true}}\n")
    (tmp_path / "job.yaml").symlink_to(folder / "config.yaml")
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "hop.yaml").symlink_to("job.yaml")
    for path in (folder / "config.yaml", *(tmp_path / name for name in ("job.yaml", "hop.yaml"))):
        with pytest.raises(ConfigError, match="have not agreed"):
            load_config(path)
    with pytest.raises(ConfigError, match="have not agreed"):
        load_config(tmp_path / "linked" / "config.yaml")
