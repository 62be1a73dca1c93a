"""What is done with models that rewrite texts or fill in masks: asked, used on files, loaded as cards say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from rouge_score.rouge_scorer import RougeScorer

from tests.conftest import Trained, write_jsonl
from tui_tuner import demo
from tui_tuner.cli.using.ask_command import check_askable, format_ask_output
from tui_tuner.cli.using.predict_command import format_prediction_scores
from tui_tuner.config.load import build_config
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.before_after import compare_answers
from tui_tuner.inference.asking import ask_loaded_model
from tui_tuner.inference.leads import list_leads
from tui_tuner.inference.origin import check_models_write, find_origin
from tui_tuner.inference.predicting.engine import PredictionOutcome, predict_file
from tui_tuner.inference.predicting.job import Job
from tui_tuner.runs.history import read_run_view
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore
from tui_tuner.training.keeping.verdict_card import add_verdict
from tui_tuner.training.load_run import load_run

PREFIX = "summarize: "
KINDS = {"seq2seq": "full", "masked_lm": "lora"}
# Runs the snippet of each card where the card is, and returns what it printed
PLAIN = """
import contextlib, io, json, os, sys
printed = {}
for task, (folder, code) in json.load(sys.stdin).items():
    os.chdir(folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    printed[task] = said.getvalue()
assert not any(name.startswith("tui_tuner") for name in sys.modules)
json.dump(printed, sys.stdout)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trained]]:
    """A short run of each task on its small model and demo rows."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield {task: _train(root, task, method) for task, method in KINDS.items()}


def _train(root: Path, task: str, method: str) -> Trained:
    values: dict[str, Any] = {
        "task": task,
        "model": {"name": "tiny", "dtype": "float32"},
        "data": {"path": "demo", "limit": 400, "workers": 1, "validation": 0.2},
        "method": {"kind": method},
        "training": {"max_steps": 50, "batch_size": 16, "learning_rate": 0.002},
        "evaluation": {"every": 50, "samples": 2},
        "output": {"folder": str(root), "name": task},
        "hardware": {"devices": "cpu"},
    }
    if task == "seq2seq":
        values["data"] |= {"max_source": 40, "prefix": PREFIX}
        values["data"]["columns"] = {"prompt": "document", "response": "summary"}
        values["evaluation"] |= {"metric_rows": 6, "max_new_tokens": 24, "prompts": ["A bell is missing ."]}
        values["evaluation"]["best"] = "rougeL"
    run = Trained(build_config(values))
    assert run.outcome.status == "completed", run.outcome
    # The journal, which a run in a process of its own writes as it goes
    journal = JournalWriter(run.folder.events_path, run.folder.name)
    for body in run.sink.bodies:
        journal.emit(body)
    journal.close()
    add_verdict(run.folder)
    return run


def _use(run: Trained, path: Path, **more: Any) -> PredictionOutcome:
    origin = find_origin(str(run.folder.path), RunStore(run.folder.path.parent))
    return predict_file(Job(origin, str(path), f"{path}.out", device="cpu", **more))


def _read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_answers_before_and_after_are_shown_and_scored(trained: dict[str, Trained]) -> None:
    run = trained["seq2seq"]
    samples = run.sink.of("sample")
    assert [one["stage"] for one in samples] == ["before"] * 3 + ["after"] * 3
    assert samples[0]["prompt"] == "A bell is missing ." and not samples[0]["reference"]
    rows = {row["document"]: row["summary"] for row in demo.summary_rows()}
    assert all(rows[one["prompt"]] == one["reference"] for one in samples if one["reference"])
    scored = [one for one in run.sink.of("evaluation") if one.get("rows")]
    assert [one["stage"] for one in scored] == ["before", "after"]
    assert list(scored[1]["metrics"]) == ["rouge1", "rouge2", "rougeL", "bleu", "stopped"]
    assert "tok:13a" in scored[1]["signatures"]["bleu"] and list(scored[1]["signatures"]) == ["bleu"]
    # The metric that decides is measured at each evaluation, here the one of the last step
    last = next(one for one in run.sink.of("evaluation") if one["stage"] == "validation" and one["step"])
    assert {name: last["metrics"][name] for name in scored[1]["metrics"]} == scored[1]["metrics"]
    assert "best rougeL" in run.outcome.message
    lines = compare_answers(read_run_view(run.folder))
    assert any(line.startswith("bleu: ") and "tok:13a" in line for line in lines)
    card = (run.folder.last_path / "README.md").read_text()
    assert "metrics:\n- perplexity\n- accuracy\n- rouge\n- sacrebleu\n---\n" in card
    rouge = 100 * scored[1]["metrics"]["rouge1"]
    assert re.search(rf"^\| ROUGE-1 \(`rouge1`\) \| [\d.]+ \| {rouge:.2f} \|$", card, re.M)


def test_rows_are_predicted_as_plain_transformers_does_and_compared(
    trained: dict[str, Trained], tmp_path: Path
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    run = trained["seq2seq"]
    rows = list(demo.summary_rows())[:30:3]
    rows[3]["document"] = " ".join([rows[3]["document"]] * 4)
    # Columns as in training, although a file of others has them too
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "no", **row} for row in rows])
    found = _use(run, path, max_new_tokens=24)
    written = _read(found.path)
    model = AutoModelForSeq2SeqLM.from_pretrained(run.folder.best_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.folder.best_path)
    for row, one in zip(rows, written, strict=True):
        inputs = tokenizer(PREFIX + row["document"], truncation=True, max_length=40, return_tensors="pt")
        with torch.no_grad():
            answer = model.generate(**inputs, max_new_tokens=24)
        assert one["prediction"] == tokenizer.decode(answer[0], skip_special_tokens=True).strip()
    assert any("data.max_source" in note for note in found.notes)
    answers, targets = [one["prediction"] for one in written], [row["summary"] for row in rows]
    assert len(set(answers)) > 1
    scorer = RougeScorer(["rougeL"])
    wanted = sum(
        scorer.score(target, answer)["rougeL"].fmeasure
        for target, answer in zip(targets, answers, strict=True)
    )
    values = found.list_outcome_values()
    assert values["compared"] == 10 and values["metrics"]["rougeL"] == wanted / 10
    assert values["metrics"]["bleu"] == sacrebleu.corpus_bleu(answers, [targets]).score / 100
    lines = format_prediction_scores(found.scores)
    assert lines[0] == "compared with 10 targets:" and "tok:13a" in lines[-1]
    # Again, it is complete and compared as before; without targets there is nothing to compare
    assert _use(run, path, max_new_tokens=24).scores == found.scores
    bare = write_jsonl(tmp_path / "bare.jsonl", [{"article": row["document"]} for row in rows[:2]])
    alone = _use(run, bare, max_new_tokens=24)
    assert [one["prediction"] for one in _read(alone.path)] == answers[:2] and not alone.scores.rows
    named = _use(run, path, max_new_tokens=24, columns={"text": "document", "target": "text"}, force=True)
    assert [one["prediction"] for one in _read(named.path)] == answers
    assert named.scores.rows == 10 and named.scores.metrics["rougeL"] == 0
    with pytest.raises(UsageError, match="without turns"):
        _use(run, path, system="Be brief.")


def test_a_result_is_asked_and_not_talked_with(trained: dict[str, Trained]) -> None:
    for task, text in (("seq2seq", "A bell is missing ."), ("masked_lm", "It is [MASK] today .")):
        run = trained[task]
        kind = run.folder.load_config().task_kind
        assert [lead.key for lead in list_leads(run.folder, kind)] == ["a", "u", "e"]
        origin = find_origin(str(run.folder.path), RunStore(run.folder.path.parent))
        with pytest.raises(UsageError, match=f"is for task {task}"):
            check_models_write([origin])
        loaded = load_run(run.folder, "best", "cpu")
        shown = ask_loaded_model(loaded, text)
        check_askable(origin, "")
        assert format_ask_output(shown)[0].plain == shown.text
        with pytest.raises(UsageError, match="cannot answer a question"):
            ask_loaded_model(loaded, text, "Why?")
    assert shown.text and len(shown.scores) == 5
    with pytest.raises(UsageError, match="max_source"):
        ask_loaded_model(load_run(trained["seq2seq"].folder, "best", "cpu"), "A bell is missing . " * 20)


def test_masks_of_a_file_are_filled_in(trained: dict[str, Trained], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "It is [MASK] ."}, {"text": "No mask"}])
    found = _use(trained["masked_lm"], path)
    first, second = _read(found.path)
    tokens = [one["token"] for one in first["prediction"]["masks"][0]]
    assert len(tokens) == 5 and tokens[0] in first["prediction"]["text"]
    assert second["prediction"] is None and "mask token" in second["problem"]


def test_cards_say_how_to_use_the_models(trained: dict[str, Trained]) -> None:
    """The snippets run in a fresh process without a module of ours, where the cards are."""
    asked = {}
    for task, run in trained.items():
        card = (run.folder.best_path / "README.md").read_text()
        code = re.search(r"```python\n(.*?)```", card, re.S)
        assert code and "tui-tuner ask . --text FILE" in card
        asked[task] = [str(run.folder.best_path), code[1]]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = json.loads(done.stdout)
    written = ask_loaded_model(load_run(trained["seq2seq"].folder, "best", "cpu"), "A text to rewrite.")
    assert printed["seq2seq"].strip() == written.text
    shown = ask_loaded_model(load_run(trained["masked_lm"].folder, "best", "cpu"), "It is [MASK] today.")
    told = [line.rsplit(" ", 1) for line in printed["masked_lm"].splitlines()]
    assert [float(share) for _unused, share in told] == pytest.approx(
        [share for _unused, share in shown.scores], abs=1e-3
    )
