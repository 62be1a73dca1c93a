"""A verdict without a screen: lines of a run, the list of runs, the card of a model."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ui.verdicts import runs
from tui_tuner.cli import history_commands as history_cli
from tui_tuner.config.load import load_config
from tui_tuner.evaluation.remarks import list_remarks
from tui_tuner.headless import LinePrinter
from tui_tuner.runs.events import Event, Finished, RunStarted, Verdict
from tui_tuner.runs.history import read_run_view, summarise_run
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping.verdict_card import add_verdict
from tui_tuner.verdicts.verdict_lines import format_run_status, list_verdict_advice


def lines_of(folder: RunFolder) -> list[str]:
    lines: list[str] = []
    LinePrinter(lines.append, folder).feed_events(JournalReader(folder.events_path).read_events())
    return [line[10:] for line in lines]


def test_the_end_says_what_came_of_it_and_the_command_that_acts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = runs.judged(
        RunStore(Path("my runs")),
        "odd",
        replace(runs.NOTHING, advice=[{"words": "Name the end.", "values": {"chat.template": "a 'b'; c"}}]),
        {0: 3.65, 100: 3.64},
    )
    lines = lines_of(folder)
    assert lines[-1] == "completed · nothing learnt"
    assert (
        "verdict: Nothing learnt: Held-out rows have the loss of the start: 3.65 before, 3.64 at step 100."
        in lines
    )
    assert any("on 64 held-out rows" in line for line in lines)
    (command,) = [line.strip() for line in lines if "tui-tuner run" in line]
    words = shlex.split(command)
    assert words[:3] == ["tui-tuner", "run", "my runs/odd/config.yaml"] and words[3::2] == ["--set"] * 2
    assert words[4] == "output.name=auto" and words[6].startswith("chat.template=")


def test_the_command_makes_the_config_that_was_advised(tmp_path: Path) -> None:
    folder = runs.nothing_learnt(RunStore(tmp_path / "runs"))
    (command,) = [line for line in lines_of(folder) if "tui-tuner run" in line]
    words = shlex.split(command)
    config = load_config(words[2], words[4::2])
    assert config.training.learning_rate == 2e-4 and config.output.name == "auto"


def test_while_it_runs_a_word_is_said_once_and_where_to_stop(tmp_path: Path) -> None:
    folder, journal = runs.begun(RunStore(tmp_path / "runs"), "live", {0: 3.6, 20: 2.0, 40: 1.6, 60: 1.9})
    journal.emit(runs.OVERFIT)
    journal.emit(replace(runs.OVERFIT, step=62))
    journal.close()
    told = [line for line in lines_of(folder) if "verdict" in line or "stop now" in line]
    assert len(told) == 2 and told[0].startswith("verdict: Overfitting since step 40: Held-out loss rose")
    assert f"tui-tuner stop live --runs {tmp_path / 'runs'}" in told[1]


def test_a_run_that_is_resumed_or_has_no_verdict_ends_as_before(tmp_path: Path) -> None:
    lines: list[str] = []
    printer = LinePrinter(lines.append)
    printer.feed_events([Event(RunStarted()), Event(runs.NOTHING), Event(Finished("stopped"))])
    assert lines[-1].endswith("stopped · nothing learnt")
    printer.feed_events([Event(RunStarted(resumed_from=1)), Event(Finished("completed"))])
    assert lines[-1].endswith("completed")


def test_lists_of_runs_know_verdicts_and_judge_nothing(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    bad, old = runs.nothing_learnt(store, "bad"), runs.judged(store, "old", None, {0: 3.0, 100: 1.0})
    over = runs.overfitted(store, "over")
    shown = CliRunner().invoke(history_cli.app, ["--runs", str(tmp_path), "--json"])
    told = {
        row["name"]: (row["state"], row["verdict"], row["since_step"]) for row in json.loads(shown.output)
    }
    assert told == {
        "bad": ("completed", "nothing_learnt", None),
        "old": ("completed", None, None),
        "over": ("completed", "overfit", 40),
    }
    assert [summarise_run(folder)["since_step"] for folder in (bad, old, over)] == [None, None, 40]  # as kept
    text = CliRunner().invoke(history_cli.app, ["--runs", str(tmp_path)]).output
    assert "completed · nothing learnt" in text and "completed · overfitting" in text
    found = (
        CliRunner().invoke(history_cli.app, ["--runs", str(tmp_path), "--search", "nothing learnt"]).output
    )
    assert "bad" in found and "over" not in found
    journal = JournalWriter(bad.events_path, "bad")  # resumed: what was said of it holds no more
    journal.emit(RunStarted(resumed_from=50))
    journal.close()
    assert summarise_run(bad)["verdict"] is None


def test_what_a_verdict_says_is_not_said_beside_it(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    losses = {0: 3.0, 40: 1.6, 60: 3.2}
    plain = runs.judged(store, "plain", None, losses)
    assert len(list_remarks(read_run_view(plain))) == 2
    assert (
        list_remarks(read_run_view(runs.judged(store, "over", replace(runs.OVERFIT, final=True), losses)))
        == []
    )
    good = list_remarks(read_run_view(runs.judged(store, "fine", runs.GOOD, {0: 3.0, 40: 1.6, 60: 1.7})))
    assert [said.text[:26] for said in good] == ["Loss was best at step 40: "]


def test_a_card_tells_the_verdict_once_before_how_the_model_is_used(tmp_path: Path) -> None:
    folder = runs.judged(RunStore(tmp_path), "card", runs.GOOD, {0: 3.65, 100: 1.49})
    card = folder.best_path / "README.md"
    card.write_text("---\ntags: []\n---\n\n# A model\n\n## How to use it\n\n```python\n```\n")
    add_verdict(folder)
    add_verdict(folder)
    text = card.read_text()
    assert text.count("## Verdict") == 1 and text.index("## Verdict") < text.index("## How to use it")
    assert "**Good fit** (very sure: 99 % of draws agree)" in text
    assert "better by 2.1" in text and "on 64 held-out rows" in text and text.endswith("```python\n```\n")
    assert [path.name for path in folder.best_path.iterdir()] == ["README.md"]


def test_a_full_disk_leaves_the_card_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.judged(RunStore(tmp_path), "card", runs.GOOD, {0: 3.65, 100: 1.49})
    card = folder.best_path / "README.md"
    card.write_text("# A model\n")

    def full(path: Path, text: str, **_unused: str) -> None:
        path.write_bytes(text[:9].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    add_verdict(folder)
    assert card.read_text() == "# A model\n"
    assert [path.name for path in folder.best_path.iterdir()] == ["README.md"]


def test_words_of_a_newer_version_and_damage_are_survived(tmp_path: Path) -> None:
    odd = Verdict(
        9, "sp\x1b[31mlendid", -3, None, [3, "ok", None], [{"words": 4}, "x", {"words": "do", "values": 3}]
    )
    assert format_run_status("completed", odd.verdict) == "completed · sp␛[31mlendid"
    assert [(item.words, dict(item.values)) for item in list_verdict_advice(odd)] == [("do", {})]
    folder = runs.judged(RunStore(tmp_path), "odd", replace(odd, final=True), {0: 3.0, 100: 1.0})
    assert not any("\x1b" in line for line in lines_of(folder))
    assert summarise_run(folder)["verdict"] == odd.verdict
