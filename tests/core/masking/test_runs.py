"""Runs that guess hidden tokens: resumed bit for bit, saved so that plain libraries guess the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.core.test_session import reacting
from tui_tuner.demo import text_rows
from tui_tuner.errors import ModelError, UsageError
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.tasks import find_task
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
Make = Callable[..., Any]
TEXT = "The old [MASK] often comes to visit. Emma <mask> was born in 1972."
# Guesses with plain transformers or peft, in a process that has never heard of this package
RELOAD = """
import json, sys, torch
from transformers import AutoModelForMaskedLM, AutoTokenizer
base, saved, text = sys.argv[1:]
model = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
if base != saved:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, saved)
tokenizer = AutoTokenizer.from_pretrained(saved)
assert not any(name.startswith("tui_tuner") for name in sys.modules)
with torch.no_grad():
    logits = model.eval()(**tokenizer(text, return_tensors="pt")).logits
tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
print(json.dumps([logits.flatten().tolist(), tied]))
"""


@pytest.fixture
def make(make_config: MakeConfig, tmp_path: Path) -> Make:
    """A run on some of the demo's texts."""

    def config(**more: Any) -> Any:
        rows = [row for number, row in enumerate(text_rows()) if number % 8 == 0]
        return make_config(
            **{
                "task": "masked_lm",
                "model__name": "tiny-bert",
                "data__path": str(write_jsonl(tmp_path / "texts.jsonl", rows)),
                "data__max_length": 64,
                "data__validation": 0.2,
                "method__kind": "full",
                "training__learning_rate": 3e-3,
                "training__batch_size": 16,
                "training__micro_batch": 4,
                "training__max_steps": 10,
                "evaluation__every": 5,
                "evaluation__samples": 2,
                **more,
            }
        )

    return config


def guess_plainly(base: str, saved: Path, text: str) -> tuple[torch.Tensor, bool]:
    found = subprocess.run(
        [sys.executable, "-c", RELOAD, base, str(saved), text],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    logits, tied = json.loads(found.stdout.splitlines()[-1])
    return torch.tensor(logits), tied


@pytest.mark.parametrize("method", ["full", "lora"])
def test_plain_libraries_guess_what_the_run_guesses(method: str, make: Make, train: Train) -> None:
    run = train(make(method__kind=method, evaluation__prompts=[TEXT, "no mask"]))
    assert run.outcome.status == "completed", run.outcome
    first, *_between, last = [event["metrics"] for event in run.sink.of("evaluation")]
    assert set(first) == {"loss", "perplexity", "accuracy"} and last["loss"] < first["loss"]
    shown = run.sink.of("sample")
    assert {event["stage"] for event in shown} == {"before", "during", "after"}
    held_out = [event for event in shown if event["reference"]]
    assert held_out and all(event["prompt"].count("[MASK]") == 1 for event in held_out)
    assert any("no mask token" in event["message"] for event in run.sink.of("log"))

    model, tokenizer, config = load_run(run.folder, "last", device="cpu")
    text = TEXT.replace("<mask>", "[MASK]")
    with torch.no_grad():
        ours = model.eval()(**tokenizer(text, return_tensors="pt")).logits
    whole = method == "full"
    base = str(run.folder.last_path if whole else find_tiny_folder("tiny-bert"))
    theirs, tied = guess_plainly(base, run.folder.last_path, text)
    assert tied
    torch.testing.assert_close(ours.flatten(), theirs, atol=1e-5, rtol=0)

    task = find_task(config.task)
    asked = task.ask_model(model, tokenizer, config, TEXT)
    (row,) = task.predict_rows(model, tokenizer, config, [], 1) or [None]
    chances = ours[0, tokenizer(text)["input_ids"].index(tokenizer.mask_token_id)].double().softmax(-1)
    assert len(asked.scores) == 5 and asked.text.count(", ") == 1 and row is None
    assert [score for _token, score in asked.scores] == pytest.approx(chances.topk(5).values.tolist())
    with pytest.raises(UsageError, match="no mask token"):
        task.ask_model(model, tokenizer, config, "nothing to guess")


def test_a_run_resumed_within_an_epoch_ends_bit_for_bit_the_same(make: Make, train: Train) -> None:
    # 76 texts are five steps an epoch: the stop is within the second one
    changes = {
        "training__report_every": 1e-6,
        "training__max_steps": 12,
        "data__masking": {"whole_words": True},
    }
    whole = train(make(**changes))
    first = train(make(**changes), before=reacting({7: ["stop"]}))
    assert first.outcome.status == "stopped", first.outcome
    again = train(first.folder.load_config(), resume=first.folder)
    assert again.outcome.status == "completed", again.outcome
    assert {**first.steps(), **again.steps()} == whole.steps()
    wanted, found = (load_file(run.folder.last_path / "model.safetensors") for run in (whole, again))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
    counted = [event["supervised_tokens"] for event in whole.sink.of("step")]
    assert len(set(counted)) > 6, "each step of each epoch hides other tokens"


def test_losses_do_not_depend_on_micro_batch_or_packing(make: Make, train: Train) -> None:
    changes = {"model__name": "tiny-distilbert", "training__max_steps": 4, "evaluation__every": 4}
    calm = None
    for micro, packing in ((4, True), (1, False), (8, False)):
        run = train(
            make(training__micro_batch=micro, data__packing=packing, evaluation__samples=0, **changes)
        )
        assert run.outcome.status == "completed", run.outcome
        calm = calm or run
        assert run.steps() == pytest.approx(calm.steps(), abs=1e-5)
        judged, known = (one.sink.of("evaluation")[-1]["metrics"]["loss"] for one in (run, calm))
        assert judged == pytest.approx(known, abs=1e-4)


def test_models_that_cannot_guess_are_refused_with_what_to_do(
    make: Make, train: Train, tiny_model: Path
) -> None:
    for changes, what in (
        ({"model__name": str(tiny_model)}, "no mask token"),
        (
            {"model__name": str(tiny_model), "model__tokenizer": str(find_tiny_folder("tiny-bert"))},
            "llama has no head",
        ),
        ({"model__name": "tiny-distilbert", "method__kind": "lora"}, "leave a new one with random weights"),
    ):
        run = train(make(**changes))
        assert (run.outcome.status, run.outcome.exit_code) == ("failed", ModelError.exit_code), run.outcome
        assert what in run.outcome.message
