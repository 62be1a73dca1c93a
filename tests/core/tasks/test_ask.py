"""A model is asked about a text: by command, by a helper process, and by plain transformers beside them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer

from tests.conftest import Trained
from tui_tuner.cli.using.ask_command import format_ask_output
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.inside_text import join_marked_parts, read_shown_sample, split_marked_parts
from tui_tuner.inference.asking import ask_loaded_model, convert_shown_answer
from tui_tuner.launch.helper import Helper
from tui_tuner.runs.store import RunFolder
from tui_tuner.training.load_run import load_run

TEXT = "For many years Mia Weston has worked as a baker. She lives in Eastmoor, with six owls. " * 2
QUESTION = "What does Mia Weston work as?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunFolder]]:
    """The run of a task on a small model of ours and our own rows, each trained once."""
    root = tmp_path_factory.mktemp("asked")
    found: dict[str, RunFolder] = {}
    from tui_tuner.config.load import build_config

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))

        def train(task: str) -> RunFolder:
            if task not in found:
                values: dict[str, Any] = {
                    "task": task,
                    "model": {"name": "tiny", "dtype": "float32"},
                    "data": {"path": "demo", "max_length": 64, "stride": 16, "limit": 200, "workers": 1},
                    "method": {"kind": "full"},
                    "training": {"max_steps": 8, "batch_size": 8, "learning_rate": 0.002},
                    "evaluation": {"every": 4, "samples": 2},
                    "output": {"folder": str(root), "name": task, "save_every": 4},
                    "hardware": {"devices": "cpu"},
                }
                run = Trained(build_config(values))
                assert run.outcome.status == "completed", run.outcome
                found[task] = run.folder
            return found[task]

        yield train


def ask(folder: RunFolder, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tui_tuner", "ask", str(folder.path), "--text", "-", "--device", "cpu"]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [*command, *more],
        input=text,
        text=True,
        capture_output=True,
        timeout=120,
        env=environment,
        check=False,
    )


def is_text_marked(told: dict[str, Any]) -> bool:
    """Whether a screen would look for something inside the text, which a class is not."""
    return bool(read_shown_sample(told).passage or told["found"])


def test_an_answer_is_the_best_span_of_the_logits(trained: Callable[[str], RunFolder]) -> None:
    """By command with JSON; the oracle is transformers alone, on a text that fits into one window."""
    folder = trained("question_answering")
    text = TEXT[: len(TEXT) // 2]
    done = ask(folder, text, "--question", QUESTION, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["passage"] == text  # spans are in characters of what was given
    model = AutoModelForQuestionAnswering.from_pretrained(folder.best_path)
    tokenizer = AutoTokenizer.from_pretrained(folder.best_path)
    inputs = tokenizer(QUESTION, text, return_tensors="pt", return_offsets_mapping=True)
    assert inputs["input_ids"].shape[1] <= 64
    places = inputs.pop("offset_mapping")[0].tolist()
    inside = [place for place, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    with torch.no_grad():
        out = model(**inputs)
    scores = {
        (one, two): (out.start_logits[0, one] + out.end_logits[0, two]).item()
        for one in inside
        for two in inside
        if one <= two < one + 30
    }
    one, two = max(scores, key=lambda pair: scores[pair])
    assert [(span["start"], span["end"]) for span in told["found"]] == [(places[one][0], places[two][1])]
    assert told["text"] == text[places[one][0] : places[two][1]] == told["scores"][0][0]


def test_a_helper_answers_and_keeps_the_model(
    trained: Callable[[str], RunFolder],
) -> None:
    folder = trained("token_classification")
    said: list[Any] = []
    with Helper() as helper:
        arguments = {"run": str(folder.path), "text": TEXT, "device": "cpu"}
        request = helper.prepare_request("ask", arguments, progress=said.append, seconds=120)
        first = request.wait_for_result()
        assert list(dict.fromkeys(one["doing"] for one in said)) == ["loading", "answering"]
        assert said[-2]["done"] == said[-2]["total"] > 0  # a count that moves while it waits
        told = len(said)
        second = helper.prepare_request("ask", arguments, progress=said.append, seconds=120)
        assert second.wait_for_result() == first and second.pid == request.pid
        assert [one["doing"] for one in said[told:]] == ["answering"]
        with pytest.raises(UsageError, match="no checkpoint 'step-9'"):
            helper.ask_and_wait("ask", {**arguments, "which": "step-9"})
        with pytest.raises(UsageError):
            helper.ask_and_wait("ask", {**arguments, "question": "Who?"})
    told = read_shown_sample(first)
    assert told.passage == TEXT and "".join(TEXT[s.start : s.end] for s in told.found)
    here = ask_loaded_model(load_run(folder, "best", "cpu"), TEXT)
    assert convert_shown_answer(here) == first
    assert (
        format_ask_output(here)[0].plain.strip()
        == join_marked_parts(split_marked_parts(told, judged=False)).strip()
    )


def test_classes_have_the_probabilities_of_plain_transformers(trained: Callable[[str], RunFolder]) -> None:
    folder = trained("classification")
    text = TEXT[: len(TEXT) // 2].strip()
    shown = ask_loaded_model(load_run(folder, "best", "cpu"), text)
    told = convert_shown_answer(shown)
    assert not is_text_marked(told)
    model = AutoModelForSequenceClassification.from_pretrained(folder.best_path)
    tokenizer = AutoTokenizer.from_pretrained(folder.best_path)
    with torch.no_grad():
        shares = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
    wanted = {model.config.id2label[place]: share for place, share in enumerate(shares.tolist())}
    assert dict(map(tuple, told["scores"])) == pytest.approx(wanted, abs=1e-5)
    assert told["text"] == max(wanted, key=lambda name: wanted[name])
    lines = "\n".join(line.plain for line in format_ask_output(shown))
    assert re.search(r"\d\.\d% [█░]{20} " + re.escape(told["text"]), lines), lines


def test_what_cannot_be_asked_is_said(
    trained: Callable[[str], RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    from tui_tuner.cli.using.ask_command import ask_named_model as command

    questions = trained("question_answering").path
    text = tmp_path / "text"
    text.write_text(TEXT)
    for place, words in ((tiny_model, "writes text"), (questions, "a question is missing")):
        with pytest.raises(UsageError, match=words):
            command(str(place), str(text))
