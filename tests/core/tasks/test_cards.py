"""Final models of each task: what plain libraries make of their folders, and what their cards say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import Trained
from tests.matrix.pairs import WORK, make_models, values_of, write_rows
from tests.matrix.worker import TEXTS, seen_by
from tui_tuner.config.load import build_config
from tui_tuner.training.keeping import saving

# A method for each task; the matrix has all of them
PAIRS = (
    ("sft-decoder", "prompt_tuning"),
    ("pretraining-decoder", "full"),
    ("classification-encoder", "lora"),
    ("classification-decoder", "p_tuning"),
    ("token_classification-encoder", "freeze"),
    ("question_answering-encoder", "prefix_tuning"),
    ("question_answering-decoder", "ia3"),
)
PIPELINES = {
    "sft": "text-generation",
    "pretraining": "text-generation",
    "classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
}
# Runs the snippet of each card where the card is, without a module of ours, and asks the model as the run did
PLAIN = """
import contextlib, io, json, os, sys, warnings
warnings.simplefilter("ignore")
asks = json.load(sys.stdin)
import torch, transformers
transformers.logging.set_verbosity_error()
found = {}
for name, ask in asks.items():
    os.chdir(ask["folder"])
    names, said = {}, io.StringIO()
    torch.manual_seed(len(found))
    with contextlib.redirect_stdout(said):
        exec(ask["code"], names)
    answers = []
    with torch.no_grad():
        for text in ask["texts"]:
            ids = torch.tensor([text])
            out = names["model"](input_ids=ids, attention_mask=torch.ones_like(ids))
            logits = [out.start_logits, out.end_logits] if hasattr(out, "start_logits") else [out.logits]
            answers += [one.float().flatten() for one in logits]
    wanted = torch.load(ask["said"], weights_only=True)
    found[name] = [float((torch.cat(answers) - wanted).abs().max()), said.getvalue()]
assert not any(name.startswith("tui_tuner") for name in sys.modules)
json.dump(found, sys.stdout)
"""


def run_pair(folder: Path, name: str, method: str, values: dict[str, Any] | None = None) -> Trained:
    """A short run; what its model says at the end is beside its rows, in `said-…`."""
    values = values or values_of(WORK[name], method, folder)
    values["training"]["max_steps"] = 3
    values["evaluation"]["every"] = 3
    write = saving.write_final_model

    def spy(model: Any, *more: Any) -> None:
        torch.save(seen_by(model), folder / f"said-{name}-{method}.pt")
        write(model, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "write_final_model", spy)
        run = Trained(build_config(values))
    assert run.outcome.status == "completed", run.outcome
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Trained, Path]]:
    """Each run, and the folder that its rows are in."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        make_models(folder)
        write_rows(folder)
        return {(name, method): (run_pair(folder, name, method), folder) for name, method in PAIRS}


def card_of(run: Trained, which: str = "last") -> str:
    return (run.folder.path / which / "README.md").read_text(encoding="utf-8")


def head_of(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_snippets_run_in_a_fresh_process_and_say_what_the_run_said(made: Any) -> None:
    asks = {}
    for (name, method), (run, folder) in made.items():
        code = re.search(r"```python\n(.*?)```", card_of(run), re.S)
        assert code
        said = str(folder / f"said-{name}-{method}.pt")
        asks[name] = {"folder": str(run.folder.last_path), "code": code[1], "said": said, "texts": TEXTS}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps(asks),
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for name, (apart, printed) in found.items():
        assert apart <= 1e-5, name
        assert "classification" not in name or printed.strip(), name
    assert set(re.findall(r"^(\w+) [01]\.\d+$", found["classification-encoder"][1], re.M)) == {"bad", "good"}
    tags = {"O", "B-PER", "B-LOC"}
    lines = found["token_classification-encoder"][1].splitlines()
    assert [line.split()[0] for line in lines] == ["Anna", "lives", "in", "Berlin", "."]
    assert {line.split()[1] for line in lines} <= tags


def test_cards_say_what_was_done_on_what_and_with_which_figures(made: Any) -> None:
    for (name, method), (run, folder) in made.items():
        task = WORK[name].task
        card = card_of(run)
        head = head_of(card)
        adapter = method not in ("full", "freeze")
        assert head["library_name"] == ("peft" if adapter else "transformers")
        assert head["pipeline_tag"] == PIPELINES[task]
        assert {"tui-tuner", method.replace("_", "-"), task.replace("_", "-")} <= set(head["tags"])
        assert "base_model" not in head, "a folder is no model of the hub"
        assert str(folder) not in card and "/tmp" not in card
        assert f"`{task}.jsonl`" in card and f"`{WORK[name].model}`" in card
        evaluation = run.sink.of("evaluation")[-1]["metrics"]
        for metric, value in evaluation.items():
            if value is not None:
                assert re.search(rf"\(`{metric}`\) \|.* {value:.4f} \|$", card, re.M), (name, metric)
        ledger = run.sink.of("ledger")[-1]
        splits = ledger["splits"]
        assert f"{ledger['read']} rows were read: " in card
        held = splits["validation_pieces"]
        assert f"{splits['training_pieces']} examples were trained on, {held} held out." in card
        assert "torch " in card and "CPU" in card and "| 3 / 3 |" in card


def test_classes_are_named_beside_adapters_and_in_whole_models(made: Any) -> None:
    from transformers import AutoConfig, AutoTokenizer

    for pair, names in (
        (PAIRS[2], ["bad", "good"]),
        (PAIRS[3], ["bad", "good"]),
        (PAIRS[4], None),
    ):
        run = made[pair][0]
        for which in ("best", "last"):
            place = run.folder.path / which
            config = AutoConfig.from_pretrained(place)
            found = [config.id2label[number] for number in sorted(config.id2label)]
            assert found == names if names else set(found) == {"O", "B-PER", "B-LOC"}
            assert config.label2id == {name: number for number, name in enumerate(found)}
            assert "LABEL" not in json.dumps(config.to_dict()["id2label"])
            assert len(AutoTokenizer.from_pretrained(place)) == config.vocab_size
        if names:
            assert config.problem_type == "single_label_classification"


def test_before_and_after_stand_side_by_side(made: Any) -> None:
    card = card_of(made[PAIRS[2]][0])
    assert "| | before | step 3 |" in card
    best = card_of(made[PAIRS[2]][0], "best")
    assert "| | before | step 3 |" in best


def test_names_of_others_cannot_write_into_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_models(tmp_path)
    write_rows(tmp_path)
    model = tmp_path / "en`co[der](x)\n---\nlicense: mit"
    (tmp_path / "encoder").rename(model)
    bad = "bad`|\n# Heading <script>\x1b[31m"
    values = values_of(WORK["classification-encoder"], "lora", tmp_path)
    rows = tmp_path / "re`views|x.jsonl"
    lines = (tmp_path / "classification.jsonl").read_text().splitlines()
    marked = [{**row, "label": bad if row["label"] == "bad" else "good"} for row in map(json.loads, lines)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in marked))
    values["model"]["name"], values["data"]["path"] = str(model), str(rows)
    run = run_pair(tmp_path, "classification-encoder", "lora", values)
    card = card_of(run)
    assert set(head_of(card)) == {"library_name", "pipeline_tag", "tags", "metrics"}
    assert card.count("\n---\n") == 1 and not re.search(r"^# Heading", card, re.M)
    assert "\x1b" not in card
    title = next(line for line in card.splitlines() if line.startswith("# "))
    assert "\\`" in title and "\\[der\\]" in title
    told = next(line for line in card.splitlines() if "Its classes are" in line)
    assert re.search(r"`` bad`.*`` ?", told), "a name with a mark of code in it stands in a longer one"
