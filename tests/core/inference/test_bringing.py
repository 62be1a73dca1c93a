"""A model of a hub that is not here is fetched, with a count, by whatever is to use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_jsonl
from tests.hub_server import PlayedHub, hub
from tui_tuner.inference import asking, chatting
from tui_tuner.inference.origin import Origin, find_origin
from tui_tuner.inference.predicting.engine import AFTER_BATCH, GO, predict_file
from tui_tuner.inference.predicting.job import Job
from tui_tuner.models.hub import place
from tui_tuner.runs.store import RunStore

__all__ = ["hub"]


@pytest.fixture
def origin(hub: PlayedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    from huggingface_hub import constants
    from transformers.utils import hub as of_transformers

    monkeypatch.setattr(place, "_settled", set())
    monkeypatch.setattr(chatting, "_models", {})
    monkeypatch.setattr(asking, "_warm", {})
    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE"):
        if hasattr(of_transformers, name):
            monkeypatch.setattr(of_transformers, name, constants.HF_HUB_CACHE)
    hub.add_demo("acme/tiny")
    return find_origin("acme/tiny", RunStore(tmp_path / "none"))


def test_a_chat_fetches_its_model_once(hub: PlayedHub, origin: Origin) -> None:
    size = sum(map(len, hub.models["acme/tiny"].files.values()))
    told: list[dict[str, Any]] = []
    asked = {"models": [origin.list_origin_values()], "device": "cpu"}
    (facts,) = chatting.load_chat_models(asked, told.append, lambda: False)
    fetched = [one for one in told if one.get("fetching") == "acme/tiny"]
    assert fetched[-1]["done"] == fetched[-1]["total"] == size
    assert told[: len(fetched)] == fetched  # all of it before the first weight is read
    assert facts["name"] == "acme/tiny" and any(one.get("total") for one in told[len(fetched) :])
    told.clear()
    turns = [[{"role": "user", "content": "a coat"}]]
    (answer,) = chatting.answer_chat(
        {**asked, "turns": turns, "sampling": {"max_new_tokens": 2}}, told.append, lambda: False
    )
    assert answer["prompt_tokens"] and not any("fetching" in one for one in told)


def test_what_is_stopped_while_it_is_fetched_comes_to_nothing(
    hub: PlayedHub, origin: Origin, tmp_path: Path
) -> None:
    hub.slow(1_000_000)
    asked = {
        "models": [origin.list_origin_values()],
        "device": "cpu",
        "turns": [[{"role": "user", "content": "a"}]],
    }
    told: list[Any] = []

    def cancelled() -> bool:
        return hub.bytes_sent > 100_000

    assert chatting.answer_chat(asked, told.append, cancelled) == []
    assert chatting.list_chat_tokens(asked, told.append, cancelled) == []
    assert chatting.load_chat_models(asked, told.append, cancelled) == []
    assert (
        asking.run_ask_operation({"model": origin.list_origin_values(), "text": "a"}, told.append, cancelled)
        is None
    )
    assert {one.get("doing", "fetching") for one in told} == {"fetching"}
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": f"coat {number}"} for number in range(3)])
    job = Job(origin, str(rows), str(tmp_path / "out.jsonl"), max_new_tokens=2, device="cpu")
    found = predict_file(job, told.append, lambda: AFTER_BATCH if cancelled() else GO)
    assert found.stopped and not found.counts.rows and not (tmp_path / "out.jsonl").exists()
    hub.slow(None)
    told.clear()
    assert predict_file(job, told.append).is_done
    doing = list(dict.fromkeys(one["doing"] for one in told if "doing" in one))
    assert doing == ["counting", "fetching", "loading", "predicting"]
    assert [json.loads(line)["prompt"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        "coat 0",
        "coat 1",
        "coat 2",
    ]
