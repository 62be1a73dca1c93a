"""Completion in real shells: what a press of Tab offers, and that nothing heavy is imported for it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui import fakes
from tui_tuner.config.chat_templates import CHAT_TEMPLATES
from tui_tuner.config.options import list_options
from tui_tuner.config.presets import list_presets

ROOT = Path(__file__).parents[3]
Tab = Callable[..., list[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs and some files, and `tui-tuner` on the path."""
    store = fakes.store_at(tmp_path)
    for name, steps in (("coats", 40), ("lamps", 20)):
        folder = fakes.make_run(store, name)
        fakes.write_run(folder, steps, 40, "completed")
        (folder.checkpoints_path / "step-20").mkdir(parents=True)
    (tmp_path / "job.yaml").write_text("task: sft\n")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tui-tuner"
    command = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -P -m tui_tuner"
    program.write_text(f'#!/bin/sh\n{command} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def tab(place: Path) -> Tab:
    """Press Tab in bash behind these words, the last of which is begun; gives what is offered."""
    asked = subprocess.run(["tui-tuner", "completion", "bash"], capture_output=True, text=True, check=True)

    def press(*words: str) -> list[str]:
        line = " ".join(shlex.quote(word) for word in ("tui-tuner", *words))
        script = (
            f"{asked.stdout}\n"
            f"COMP_WORDS=({line})\nCOMP_CWORD={len(words)}\n"
            'compopt() { echo compopt "$1" "$2" >&2; }\n'
            '_tui_tuner_completion tui-tuner "${COMP_WORDS[COMP_CWORD]}" ""\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr in ("", "compopt -o nospace\n"), done.stderr
        found = [word for word in done.stdout.split("\n") if word]
        assert ("compopt" in done.stderr) == bool(found and found[0].endswith("="))
        return found

    return press


def test_commands_options_and_the_names_of_things_are_completed_in_bash(tab: Tab) -> None:
    assert tab("re") == ["resume"]
    assert tab("data", "") == ["inspect", "preview", "mask", "clean", "convert", "templates"]
    assert "--resume-if-possible" in tab("run", "--re")
    assert tab("run", "lora") == [preset.name for preset in list_presets() if preset.name.startswith("lora")]
    assert tab("run", "jo") == ["job.yaml"]
    assert set(tab("resume", "")) == {"last", "coats", "lamps"}
    assert tab("runs", "delete", "lamps", "co") == ["coats"]
    assert tab("ask", "coats", "--checkpoint", "st") == ["step-20"]
    assert tab("data", "inspect", "rows") == []  # bash has files where nothing is offered
    assert tab("completion", "z") == ["zsh"]


def test_fields_and_their_values_are_completed_behind_set(tab: Tab) -> None:
    fields = [f"{path}=" for path in list_options()]
    assert tab("run", "demo", "--set", "") == fields
    assert tab("run", "demo", "--set", "training.epo") == ["training.epochs="]
    # as bash takes words apart at each =
    kinds = tab("run", "demo", "--set", "method.kind", "=", "lo")
    assert "lora" in kinds and all(kind.startswith("lo") for kind in kinds)
    assert set(CHAT_TEMPLATES) <= set(tab("run", "demo", "--set", "model.chat_template", "="))
    assert tab("run", "demo", "--set", "method.rank", "=", "8", "--no") == ["--no-tui"]


def test_other_folders_of_runs_are_looked_into(tab: Tab, place: Path) -> None:
    (place / "runs").rename(place / "others")
    assert tab("attach", "--runs", "others", "co") == ["coats"]
    assert tab("attach", "co") == []


def test_a_press_of_tab_imports_nothing_heavy(place: Path) -> None:
    code = (
        "import sys\nfrom tui_tuner.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'textual', 'huggingface_hub', 'datasets', 'numpy')"
        " if m in sys.modules])"
    )
    asked = {"_TUI_TUNER_COMPLETE": "complete_bash", "COMP_WORDS": "tui-tuner\nrun\ndemo\n--set\nmethod.ra"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, **asked, "COMP_CWORD": "4", "PYTHONPATH": str(ROOT)},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["method.rank=", "method.rank_pattern=", "[]"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_take_their_script(shell: str, place: Path) -> None:
    script = subprocess.run(
        ["tui-tuner", "completion", shell], capture_output=True, text=True, check=True
    ).stdout
    assert "tui-tuner" in script and "_TUI_TUNER_COMPLETE" in script
    asked = {
        "_TUI_TUNER_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "tui-tuner run demo --set method.kind=lor",
    }
    asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    done = subprocess.run(
        ["tui-tuner"], env={**os.environ, **asked}, cwd=place, capture_output=True, text=True, check=True
    )
    assert "method.kind=lora" in done.stdout
    if shutil.which(shell):
        read = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert read.returncode == 0, read.stderr


def test_a_shell_that_is_not_known_is_refused_in_a_line(place: Path) -> None:
    done = subprocess.run(["tui-tuner", "completion", "tcsh"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: no completion for the shell 'tcsh'. Known are bash, zsh, fish.\n"
