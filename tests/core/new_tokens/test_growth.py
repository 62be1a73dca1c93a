"""Runs with new tokens: what is trained, what stays bit for bit, and what plain libraries load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.core.test_session import reacting
from tui_tuner.cli.command_list import app
from tui_tuner.data.new_words.growing_tokenizer import grow_tokenizer
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.methods import attach, count_model_parameters, merge
from tui_tuner.methods.saved.putting import put_adapter
from tui_tuner.models.facts import load_facts
from tui_tuner.models.growing.growth import RECORD, read_growth
from tui_tuner.models.loading import load_model, load_tokenizer
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.planning.traps.advice import list_trap_findings
from tui_tuner.tasks import find_task
from tui_tuner.training.keeping.final_model import write_final_model
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
TEXT = "The plasmid meets a polymerase."
QUICK: dict[str, Any] = {"training__max_steps": 4, "evaluation__every": 4}
WORDS = ("polymerase", "plasmid", "ligation", "transfection", "oligomer", "chromatin")


@pytest.fixture
def trade(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"What does the {WORDS[n % 6]} do in step {n}?",
            "response": f"The {WORDS[n % 6]} meets a {WORDS[(n + 1 + n // 6) % 6]}.",
        }
        for n in range(60)
    ]
    return write_jsonl(tmp_path / "trade.jsonl", rows)


@pytest.fixture
def untied(tiny_model: Path, tmp_path: Path) -> Path:
    return tiny_model


def read_rows(folder: Path) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight.detach()


def test_new_rows_alone_are_trained(
    make_config: MakeConfig, train: Train, tiny_model: Path, trade: Path
) -> None:
    config = make_config(
        data__path=str(trade),
        model__new_tokens={"learn": 20},
        training__weight_decay=0.1,
        training__max_steps=6,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    (grown,) = run.sink.of("vocabulary")
    assert grown["tokens"] == 20
    assert grown["after"] > grown["before"] * 1.2
    assert grown["held_after"] > grown["held_before"]
    assert "untrained_tokens" not in run.codes()
    loaded = load_run(run.folder)
    old = read_rows(tiny_model)
    growth = read_growth(run.folder.best_path)
    assert growth is not None
    merged = merge(loaded.model)
    now = merged.get_input_embeddings().weight.detach()
    assert torch.equal(now[: growth.first], old[: growth.first])
    began = torch.stack([old[list(one.pieces)].mean(0) for one in growth.tokens])
    assert not torch.equal(now[growth.first : growth.rows], began)
    assert (now[growth.first : growth.rows] - began).abs().max() < 0.2


RELOAD = """
import sys, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
assert not any(name.startswith("tui_tuner") for name in sys.modules)
ids = tokenizer("The plasmid meets a polymerase.", return_tensors="pt")["input_ids"]
with torch.no_grad():
    print(model(input_ids=ids).logits.flatten().tolist())
"""


def check_reload(folder: Path, run: Trained) -> torch.Tensor:
    """Assert that plain peft, the card's lines and this program compute the same."""
    loaded = load_run(run.folder, folder.name)
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ours = loaded.model(input_ids=ids).logits.flatten()
    code = (folder / "README.md").read_text().split("```python")[1].split("messages =")[0]
    names: dict[str, Any] = {}
    exec(code.replace('folder = "."', f"folder = {str(folder)!r}"), names)
    with torch.no_grad():
        card = names["model"].float()(input_ids=names["tokenizer"](TEXT, return_tensors="pt")["input_ids"])
    assert torch.allclose(card.logits.flatten(), ours, atol=1e-5)
    return ours


@pytest.mark.parametrize("train_rows", ["rows", "all", "nothing"])
def test_a_resumed_run_ends_the_same_and_plain_peft_loads_it(
    make_config: MakeConfig, train: Train, trade: Path, train_rows: str
) -> None:
    config = make_config(
        data__path=str(trade),
        model__new_tokens=["polymerase", "plasmid"],
        model__new_tokens_train=train_rows,
        training__report_every=1e-6,
        output__save_every=2,
        evaluation__every=None,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    stopped = train(config, before=reacting({3: ["stop"]}))
    assert stopped.outcome.status == "stopped"
    train(config, resume=stopped.folder)
    for name in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "new_tokens.json"):
        one, other = (run.folder.path / "last" / name for run in (whole, stopped))
        assert one.read_bytes() == other.read_bytes(), name
    ours = check_reload(whole.folder.last_path, whole)
    if train_rows == "rows":
        found = subprocess.run(
            [sys.executable, "-c", RELOAD, str(whole.folder.last_path)],
            capture_output=True,
            text=True,
            cwd="/",
            check=True,
        )
        theirs = torch.tensor(json.loads(found.stdout.splitlines()[-1]))
        assert torch.allclose(ours, theirs, atol=1e-5)


METHODS: list[dict[str, Any]] = [
    {"kind": "lora", "rank": 4},
    {"kind": "adalora", "rank": 6, "final_rank": 2},
    {"kind": "full"},
    {"kind": "ia3"},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
@pytest.mark.parametrize("rows", ["rows", "all"])
def test_what_is_planned_is_what_is_trained(
    make_config: MakeConfig, trade: Path, tmp_path: Path, method: dict[str, Any], rows: str
) -> None:
    """Parameters as counted before a run, and those of the model; what a method leaves untrained is said."""
    config = make_config(
        data__path=str(trade),
        model__new_tokens=["polymerase", "plasmid", "big dog"],
        model__new_tokens_train=rows,
        method=method,
    )
    facts = load_facts(config.model)
    counted = count_run_parameters(config, facts)
    task = find_task(config.task)
    grown = grow_tokenizer(config, load_tokenizer(config.model), task, tmp_path / "grown")
    base = load_model(config, "cpu", grown.tokenizer)
    model = attach(base, config, task.peft_type)
    assert base.get_input_embeddings().weight.shape[0] == facts.vocab == base.config.vocab_size
    assert (counted.trained, counted.total) == count_model_parameters(model)
    untrained = [one for one in list_trap_findings(config, facts) if one.code == "untrained_new_tokens"]
    assert bool(untrained) == (method["kind"] == "ia3")


def test_an_adapter_with_new_tokens_is_merged_asked_and_trained_on(
    make_config: MakeConfig, train: Train, trade: Path, tmp_path: Path
) -> None:
    first = train(make_config(data__path=str(trade), model__new_tokens=["polymerase", "plasmid"], **QUICK))
    assert first.outcome.status == "completed", first.outcome
    ours = check_reload(first.folder.last_path, first)
    best = first.folder.last_path
    done = CliRunner().invoke(app, ["merge", str(best), str(best), "-o", str(tmp_path / "sum")])
    assert isinstance(done.exception, ModelError) and "new tokens" in str(done.exception)
    whole = tmp_path / "whole"
    write_final_model(
        merge(put_adapter(load_run(first.folder, "base").model, best)),
        load_run(first.folder).tokenizer,
        whole,
    )
    tokenizer = AutoTokenizer.from_pretrained(whole)
    model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
    assert not (whole / RECORD).exists() and model.config.vocab_size == len(tokenizer)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert torch.allclose(model(input_ids=ids).logits.flatten(), ours, atol=1e-4)
    for use in ("continue", "merge"):
        run = train(
            make_config(data__path=str(trade), model__adapter=str(best), model__adapter_use=use, **QUICK)
        )
        assert run.outcome.status == "completed", (use, run.outcome)
        before = [one["metrics"]["loss"] for one in run.sink.of("evaluation") if one["step"] == 0]
        after = [one["metrics"]["loss"] for one in first.sink.of("evaluation")]
        assert before[0] == pytest.approx(after[-1], abs=1e-4), use
        check_reload(run.folder.last_path, run)
    with pytest.raises(ConfigError, match="goes on with the tokens"):
        make_config(model__adapter=str(best), model__new_tokens=["ligation"])
    run = train(make_config(data__path=str(trade), model__adapter=str(best), model__adapter_use="stack"))
    assert run.outcome.status == "failed" and "adapter_use" in str(run.sink.of("finished")), run.outcome
