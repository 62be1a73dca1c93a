"""Rows of two base models never stand in one output: nothing is known of the base that an adapter had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import chat_rows, write_jsonl
from tests.core.inference.predicting.models import job
from tests.core.inference.test_bases import change
from tui_tuner.errors import ModelError, UsageError
from tui_tuner.inference.origin import find_origin
from tui_tuner.inference.predicting.engine import predict_file
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.stamp import describe_model_state
from tui_tuner.runs.store import RunStore


def test_an_output_goes_on_with_the_base_that_it_began_with(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")

    def asked(**more: object) -> Job:
        origin = find_origin(str(tmp_path / "adapter"), RunStore(tmp_path / "runs"), **more)  # type: ignore[arg-type]
        return job(origin, rows, batch_size=1, max_new_tokens=4)

    rows = write_jsonl(tmp_path / "rows.jsonl", [{"messages": row["messages"][:1]} for row in chat_rows(12)])
    out = Path(asked().out)
    predict_file(asked())
    whole = out.read_bytes()
    before = b"".join(whole.splitlines(keepends=True)[:5])  # as a kill leaves it
    out.write_bytes(before)

    moved = base.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match="was trained on the model in"):
        predict_file(asked())
    other = Path(shutil.copytree(moved, tmp_path / "other"))
    change(other)
    for any_base in (False, True):
        with pytest.raises(UsageError, match=r"had another base model \(--base\)"):
            predict_file(asked(base=str(other), any_base=any_base))
    assert out.read_bytes() == before
    found = predict_file(asked(base=str(moved)))  # the same weights, wherever they are
    assert found.is_done and found.before == 5 and out.read_bytes() == whole


def test_a_model_that_brings_all_its_weights_has_no_base(tiny_model: Path, tmp_path: Path) -> None:
    told = describe_model_state(find_origin(str(tiny_model), RunStore(tmp_path)))
    assert told["base"] == "" and told["files"]
