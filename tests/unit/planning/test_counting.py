"""Rows, tokens and speed before a run."""

from __future__ import annotations

import json

import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.planning.row_counting import count_rows_exactly, count_rows_quickly
from tui_tuner.planning.throughput import find_measured_throughput
from tui_tuner.runs.events import RunStarted, Step
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore
from tui_tuner.tasks import find_task


def config(**sections):
    return RunConfig.model_validate(sections)


WORDS = [a + b + c for a in "bdfgklmn" for b in "aeiou" for c in "bdfgklmnprst"]


def write(path, rows):
    made = ({"prompt": f"Say {word}.", "response": f"It is {word}. " * 2} for word in WORDS[:rows])
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return str(path)


def test_rows_are_counted_and_split(tmp_path):
    found = count_rows_quickly(config(data={"path": write(tmp_path / "a.jsonl", 40), "validation": 0.25}), 10)
    assert (found.facts.rows, found.facts.validation_rows) == (30, 10)
    assert "40 rows" in found.basis and not found.exact


def test_a_large_file_is_counted_by_its_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", 450)
    found = count_rows_quickly(config(data={"path": path, "validation": None, "limit": 400}), seconds=0)
    assert found.facts.rows == 400 and "400 lines" in found.basis


def test_tokens_come_near_those_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = config(data={"path": write(tmp_path / "a.jsonl", 60)})
    quick, exact = count_rows_quickly(asked, 10).facts, count_rows_exactly(asked, find_task(asked.task))
    assert exact.exact and exact.facts.rows == quick.rows == 57
    assert quick.tokens == pytest.approx(exact.facts.tokens, rel=0.5)
    assert quick.supervised == pytest.approx(exact.facts.supervised, rel=0.1)
    assert quick.tokens <= exact.facts.tokens  # the template's own tokens are left out, as its basis says


@pytest.mark.parametrize(
    ("path", "words"), [("someone/their-data", "not on this machine"), ("here.jsonl", "has no row")]
)
def test_absent_or_broken_data_is_said(tmp_path, monkeypatch, path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.jsonl").write_bytes(b"\x00\x01" * 100)
    found = count_rows_quickly(config(data={"path": path}))
    assert found.facts is None and words in found.basis


def finished_run(store, device, seconds, name="auto", kind="lora"):
    folder = store.create_run(config(output={"name": name}, method={"kind": kind}))
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(config={}, versions={}, device=device, process=1, total_steps=9))
    for step in range(1, 10):
        journal.emit(Step(step=step, tokens=1000, seconds=9.0 if step <= 2 else seconds))
    journal.close()


def test_speed_is_that_of_the_newest_run_of_its_kind(tmp_path):
    store = RunStore(tmp_path / "runs")
    finished_run(store, "CPU x (2 cores)", 0.5, "a")
    finished_run(store, "NVIDIA T4", 0.01, "b")
    finished_run(store, "CPU x (2 cores)", 0.1, "c", kind="full")
    asked = config(output={"folder": str(store.root)})
    assert find_measured_throughput(asked, on_gpu=False).tokens_per_second == pytest.approx(2000)
    assert find_measured_throughput(asked, on_gpu=True).run == "b"
    assert (
        find_measured_throughput(
            config(output={"folder": str(store.root)}, method={"kind": "freeze", "layers": 1}), False
        )
        is None
    )


def test_damaged_journals_are_passed_over(tmp_path):
    store = RunStore(tmp_path / "runs")
    finished_run(store, "CPU x (2 cores)", 0.5, "a")
    folder = store.find_run("a")
    folder.events_path.write_bytes(folder.events_path.read_bytes() + b'{"kind":"step","tokens":\n[1]\n\xff\n')
    assert find_measured_throughput(
        config(output={"folder": str(store.root)}), False
    ).tokens_per_second == pytest.approx(2000)
    folder.events_path.unlink()
    assert find_measured_throughput(config(output={"folder": str(store.root)}), False) is None
