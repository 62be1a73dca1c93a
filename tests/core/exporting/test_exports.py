"""Exports of real runs, to the folder that other programs load; kills, and proofs that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, pipeline

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.core.exporting.adapters import TARGETS, open_folder, write_adapter, write_base, write_result
from tui_tuner.errors import DiskFullError, ModelError, UsageError
from tui_tuner.exporting import room
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.parity.answers import Answers, answer_prompts
from tui_tuner.exporting.parity.compare import BOUNDS, compare_answers
from tui_tuner.exporting.parity.prompts import NEUTRAL, Prompt
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import find_origin
from tui_tuner.runs.store import RunStore

ROOT = Path(__file__).parents[3]
TrainRun = Callable[..., Trained]


def origin_of(run: Trained, checkpoint: str = "") -> Any:
    return find_origin(run.folder.name, RunStore(run.folder.path.parent), checkpoint)


def test_a_run_is_exported_with_proof_and_card(
    make_config: MakeConfig, train: TrainRun, tmp_path: Path
) -> None:
    run = train(make_config())
    out = tmp_path / "out"
    found = export_model(origin_of(run), ExportOptions("merged", str(out)))
    told = json.loads((out / "parity.json").read_text(encoding="utf-8"))
    assert told["passed"] and told["greedy_equal"] and told["token_differences"] == 0
    assert len(told["prompts"]) >= 8 and "transformers" in told["versions"]
    assert told["details"]["adapter_effect"] > 10 * told["details"]["missed_effect"]
    assert found.parity.largest_difference < 1e-3
    card = (out / "README.md").read_text(encoding="utf-8")
    assert (
        "library_name: transformers" in card and "chats.jsonl" in card and "Compared with the result" in card
    )
    assert str(tmp_path) not in card and str(tmp_path) not in (out / "export.json").read_text(
        encoding="utf-8"
    )
    assert not list(tmp_path.glob("*.partial")) and not (out / room.MARK).exists()
    with pytest.raises(UsageError, match="there already"):
        export_model(origin_of(run), ExportOptions("merged", str(out)))


def test_each_checkpoint_has_its_own_weights(
    make_config: MakeConfig, train: TrainRun, tmp_path: Path
) -> None:
    run = train(make_config(method={"kind": "full"}))
    states = []
    for which in ("step-3", "last"):
        out = tmp_path / which
        export_model(origin_of(run, which), ExportOptions("merged", str(out), parity=False))
        states.append(AutoModelForCausalLM.from_pretrained(out).state_dict())
    last = AutoModelForCausalLM.from_pretrained(run.folder.last_path).state_dict()
    assert all(torch.equal(states[1][name], last[name]) for name in last)
    assert any(not torch.equal(states[0][name], last[name]) for name in last)


def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(
    make_config: MakeConfig, train: TrainRun, tmp_path: Path
) -> None:
    rows = [{"text": f"row {n} is fine", "label": ("bad", "good")[n % 2]} for n in range(40)]
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run = train(make_config(task="classification", data__path=str(data), training__max_steps=3))
    out = tmp_path / "out"
    found = export_model(origin_of(run), ExportOptions("merged", str(out)))
    assert found.parity.checked and found.parity.greedy_equal is None
    told = pipeline("text-classification", model=str(out), top_k=None)(["row 3 is fine"])[0]
    assert {one["label"] for one in told} == {"bad", "good"}
    with pytest.raises(ModelError, match="needs the base"):
        export_model(
            find_origin(str(out), RunStore(tmp_path)), ExportOptions("delta", str(tmp_path / "delta"))
        )


def test_no_room_is_said_before_the_work(
    make_config: MakeConfig, train: TrainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(make_config(training__max_steps=1))
    monkeypatch.setattr(room, "_SPARE", 1 << 60)
    with pytest.raises(DiskFullError, match="are free"):
        export_model(origin_of(run), ExportOptions("merged", str(tmp_path / "out")))
    assert not list(tmp_path.glob("out*"))


def test_a_killed_export_is_never_taken_for_whole(tmp_path: Path, tiny_tokenizer: Any) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer)
    write_adapter(base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS))
    command = [
        *(sys.executable, "-P", "-m", "tui_tuner", "export", str(tmp_path / "adapter")),
        *("--to", "merged", "-o", str(tmp_path / "out"), "--shard-size", "20KB"),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = tmp_path / "out.partial"
    while not any(partial.glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists() and partial.is_dir()
    if not (partial / "tokenizer.json").is_file():
        with pytest.raises((OSError, ValueError)):
            AutoModelForCausalLM.from_pretrained(partial)
    origin = find_origin(str(tmp_path / "adapter"), RunStore(tmp_path))
    export_model(origin, ExportOptions("merged", str(tmp_path / "out"), parity=False))
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not partial.exists()


def test_what_answers_otherwise_does_not_pass(tmp_path: Path, tiny_tokenizer: Any) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer, torch.float32)
    adapter = write_adapter(
        base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS), torch.float32
    )
    out = write_result(open_folder(adapter), tmp_path / "out")
    prompts = [Prompt(text, special=True) for text in NEUTRAL[:8]]
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    own = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    answers = answer_prompts(own, tiny_tokenizer, prompts)
    bases = answer_prompts(plain, tiny_tokenizer, prompts, answers)
    result = Answers(prompts, answers, "peft", [one.logits for one in bases if one.logits is not None])

    def compare(model: Any, tokenizer: Any = tiny_tokenizer) -> Any:
        found = answer_prompts(model.eval(), tokenizer, prompts, answers)
        return compare_answers(result, Answers(prompts, found, "transformers"), BOUNDS["float32"])

    right = compare(AutoModelForCausalLM.from_pretrained(out))
    assert right.passed and right.greedy_equal and right.top_1 == 1.0, right.problems
    lost = compare(plain)
    assert not lost.passed and any("no effect" in problem for problem in lost.problems)
    wrong = AutoModelForCausalLM.from_pretrained(out)
    with torch.no_grad():
        wrong.model.layers[1].self_attn.o_proj.weight.copy_(
            wrong.model.layers[1].self_attn.o_proj.weight.flip(0)
        )
    assert not compare(wrong).passed
    told = [replace(one, ids=[1, *one.ids]) for one in answers]
    other = compare_answers(result, Answers(prompts, told, "other"), BOUNDS["float32"])
    assert not other.passed and "other tokens" in other.problems[0]
