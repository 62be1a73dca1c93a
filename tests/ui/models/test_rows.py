"""The list of models without a screen: its rows, filters, order, what is asked and what fits."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tui_tuner import demo
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE, Progress
from tui_tuner.ui.base_models import fetches as queue
from tui_tuner.ui.base_models.fetches import DONE, FAILED, LEFT, WAITING, FetchJob, FetchQueue
from tui_tuner.ui.base_models.fits import FITS, MISFIT, UNKNOWN, UNSUITED, find_row_fit
from tui_tuner.ui.base_models.model_description import (
    ModelSummary,
    describe_model_folder,
    describe_model_shape,
    format_parameter_count,
)
from tui_tuner.ui.base_models.model_rows import (
    HERE,
    HUB,
    KNOWN,
    TYPED,
    ModelRow,
    RowFilter,
    find_folders_near,
    list_known_models,
    looks_like_hub_id,
)
from tui_tuner.ui.base_models.model_search import ModelSearch, find_model_values
from tui_tuner.ui.base_models.newest_first import NewestFirstThreads
from tui_tuner.ui.form_values import build_draft_config


def test_rows_of_this_machine_come_first_and_none_twice() -> None:
    hunt = ModelSearch(query="qwen", asked="qwen", answered="qwen")
    hunt.here = [ModelRow("Qwen/Qwen3-0.6B", HERE, HUGGINGFACE, bytes=500, whole=False)]
    hunt.found = [
        ModelRow("qwen/qwen3-0.6b", HUB, HUGGINGFACE, 600_000_000, 1_000, licence="apache-2.0"),
        ModelRow("other/Qwen-mine", HUB, HUGGINGFACE, gated=True),
        ModelRow("Qwen/Qwen3-8B", HUB, HUGGINGFACE),
    ]
    rows = hunt.shown_rows
    assert [row.place for row in rows[:3]] == [HERE, HUB, HUB]
    assert {row.place for row in rows[3:]} == {KNOWN}
    first = rows[0]
    assert (first.licence, first.total, first.parameters, first.is_partial) == (
        "apache-2.0",
        1_000,
        600_000_000,
        True,
    )
    names = [row.name.lower() for row in rows]
    assert len(set(names)) == len(names)


def test_what_is_typed_can_be_taken_as_a_name() -> None:
    hunt = ModelSearch(query="acme/private-1")
    assert [(row.name, row.place) for row in hunt.shown_rows] == [("acme/private-1", TYPED)]
    hunt.query = "acme"
    assert hunt.shown_rows == []
    assert looks_like_hub_id("a/b.c-d_e") and not any(
        map(looks_like_hub_id, ["a", "a/", "/b", "a/b/c", "a b/c", "a/é"])
    )


def test_filters_and_orders() -> None:
    hunt = ModelSearch(query="acme", asked="acme", answered="acme")
    hunt.here = []
    sizes = {"acme/b": 3, "acme/a": 1, "acme/c": None}
    hunt.found = [
        ModelRow(name, HUB, HUGGINGFACE, bytes=size, licence="mit" if size else "gpl")
        for name, size in sizes.items()
    ]
    hunt.view = RowFilter(order="smallest")
    assert [row.name for row in hunt.shown_rows] == ["acme/a", "acme/b", "acme/c"]
    hunt.view = RowFilter(order="largest")
    assert [row.name for row in hunt.shown_rows] == ["acme/b", "acme/a", "acme/c"]
    hunt.view = RowFilter(licence="gpl")
    assert [row.name for row in hunt.shown_rows] == ["acme/c"] and hunt.licences == ["mit", "gpl"]
    row = hunt.found[0]
    hunt.fits[row.key] = find_row_fit({}, ModelRow("Qwen/Qwen3-235B-A22B", KNOWN, HUGGINGFACE), "", None)
    assert hunt.fits[row.key].state == MISFIT
    hunt.view = RowFilter(fitting=True)
    assert [row.name for row in hunt.shown_rows] == [
        "acme/a",
        "acme/c",
    ]  # those of which nothing is known stay


def test_only_what_is_in_sight_is_asked_of_a_hub() -> None:
    hunt = ModelSearch(query="x", asked="x", answered="x")
    found = [ModelRow(f"acme/x{number}", HUB, HUGGINGFACE) for number in range(9)]
    others = [ModelRow("Qwen/Qwen3-8B", KNOWN, HUGGINGFACE), ModelRow("Qwen/Qwen3-4B", KNOWN, HUGGINGFACE)]
    hunt.note_shown([*found, *others], others[1].key)
    assert hunt.to_ask([*found[:2], others[0]]) == [others[1].key, found[0].key, found[1].key]
    assert hunt.to_plan([*found[:2], others[0]]) == [
        others[1].key,
        others[0].key,
    ]  # nobody has told the others' shapes
    hunt.take_answer(found[1].key, ModelSummary(config=find_catalog_config("gpt2") or {}), "")
    hunt.take_answer(found[0].key, None, "is not there")
    assert hunt.to_ask(found[:2]) == [others[1].key]
    assert hunt.to_plan([found[0]]) == [others[1].key, found[0].key]
    hunt.view = RowFilter(fitting=True)
    assert hunt.to_plan([]) == [others[1].key, found[0].key, found[1].key, others[0].key]


@pytest.mark.parametrize(
    ("task", "name", "state"),
    [
        ("sft", "Qwen/Qwen3-0.6B", FITS),
        ("sft", "meta-llama/Llama-3.1-405B", MISFIT),
        ("sft", "google-bert/bert-base-uncased", UNSUITED),
        ("classification", "google-bert/bert-base-uncased", FITS),
        ("sft", "acme/unheard-of", UNKNOWN),
    ],
)
def test_fit_is_that_of_the_plan_for_the_card(task: str, name: str, state: str) -> None:
    draft = {"task": task, "method": {"kind": "lora"}}
    fit = find_row_fit(draft, ModelRow(name, HUB, HUGGINGFACE), "A100-80", None)
    assert fit.state == state and fit.why
    if state in (FITS, MISFIT):
        from tui_tuner.ui import planlook

        plan = planlook.plan_draft({**draft, "model": {"name": name}}, "A100-80", network=False).plan
        assert fit.needs == plan.fit.estimate.safe_limit and fit.usable == plan.fit.card.usable
        assert (fit.state == FITS) == (fit.needs <= fit.usable)


def test_tiny_is_for_the_tasks_that_it_can_do() -> None:
    assert find_row_fit({"task": "sft"}, ModelRow("tiny", HERE, whole=True), "", None).state == UNSUITED
    assert (
        find_row_fit({"task": "classification"}, ModelRow("tiny", HERE, whole=True), "", None).state == FITS
    )
    assert find_row_fit({}, ModelRow("demo", HERE, whole=True), "", None).state == FITS


def test_shapes_come_from_the_config_of_a_hub() -> None:
    shapes = {**(find_catalog_config("Qwen/Qwen3-0.6B") or {}), "num_hidden_layers": 56}
    row = ModelRow("acme/deeper", HUB, HUGGINGFACE)
    deep, plain = (
        find_row_fit({}, row, "A100-80", None, shapes),
        find_row_fit({}, row, "A100-80", None, find_catalog_config("Qwen/Qwen3-0.6B")),
    )
    assert deep.state == plain.state == FITS and deep.needs > plain.needs
    assert (
        find_row_fit({}, row, "A100-80", None, {"model_type": "qwen3", "hidden_size": "much"}).state
        == UNSUITED
    )


def test_known_models_have_sizes_that_follow_from_their_shapes() -> None:
    rows = list_known_models()
    assert len(rows) > 50 and all(
        row.parameters and row.bytes == 2 * row.parameters and row.derived for row in rows
    )
    assert [row.parameters for row in rows] == sorted(row.parameters or 0 for row in rows)


def test_taking_a_model_leaves_nothing_of_the_one_before() -> None:
    draft: dict[str, Any] = {
        "model": {
            "name": "a/b",
            "revision": "v1",
            "trust_remote_code": True,
            "architecture": {"model_type": "llama"},
        }
    }
    row = ModelRow("Qwen/Qwen3-0.6B", HUB, HUGGINGFACE)
    values = dict(find_model_values(draft, row))
    assert values == {
        "model.name": "Qwen/Qwen3-0.6B",
        "model.revision": None,
        "model.architecture": None,
        "model.trust_remote_code": False,
    }
    assert dict(find_model_values({}, row)) == {"model.name": "Qwen/Qwen3-0.6B"}
    assert find_model_values({}, row, remote_code=True)["model.trust_remote_code"] is True
    config = build_draft_config({"model": {"name": "Qwen/Qwen3-0.6B"}})
    assert isinstance(config, RunConfig) and config.model.name == row.name


def test_folders_with_models_are_found(tmp_path: Path) -> None:
    (tmp_path / "runs" / "one" / "best").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        (tmp_path / "runs" / "one" / "best" / name).write_bytes((Path(demo.MODEL_DIR) / name).read_bytes())
    (tmp_path / "runs" / "two").mkdir()
    (tmp_path / "runs" / "two" / "config.json").write_text("{}")  # no weights
    rows = find_folders_near([tmp_path / "runs"])
    assert [row.name for row in rows] == [str(tmp_path / "runs" / "one" / "best")]
    assert rows[0].whole and rows[0].bytes == sum(path.stat().st_size for path in rows[0].folder.iterdir())
    told = describe_model_folder(rows[0].folder)
    assert told.safetensors and not told.remote_code and told.total == rows[0].bytes
    assert told.chat_template in (True, False)
    assert find_row_fit({}, rows[0], "", None).state == FITS


def test_words_about_a_shape() -> None:
    told = ModelSummary(
        config={
            "model_type": "x",
            "text_config": {"num_hidden_layers": 3, "vocab_size": 1000},
            "dtype": "torch.bfloat16",
        }
    )
    assert describe_model_shape(told) == ["x", "3 layers", "vocabulary 1,000", "bfloat16"]
    assert describe_model_shape(ModelSummary(config={"num_hidden_layers": "many"})) == []
    assert [
        format_parameter_count(n) for n in (None, 901_120, 134_515_008, 596_049_920, 70_553_706_496, 1.2e12)
    ] == [
        "",
        "901 K",
        "135 M",
        "0.6 B",
        "70.6 B",
        "1.2 T",
    ]


def test_the_newest_that_is_wanted_is_done_first_and_nothing_twice() -> None:
    gate, done, seen = threading.Event(), threading.Event(), []

    def work(thing: str) -> None:
        gate.wait(60)
        seen.append(thing)
        if thing == "bad":
            raise ValueError(thing)
        if thing == "last":
            done.set()

    failed: list[str] = []
    lookers: NewestFirstThreads[str] = NewestFirstThreads(
        work, lambda thing, error: failed.append(f"{thing} {error}"), most=1
    )
    lookers.request_only(["first"])
    while not lookers._busy:
        threading.Event().wait(0.001)
    lookers.request_only(["old", "older"])
    lookers.request_only(["first", "bad", "new", "last"])
    gate.set()
    assert done.wait(60) and seen == ["first", "bad", "new", "last"] and failed == ["bad bad"]
    lookers.close()
    lookers.request_only(["after"])
    assert not lookers.is_busy or "after" not in seen


def test_models_are_fetched_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.models.hub.kinds import FetchCancelled
    from tui_tuner.ui.base_models import hubs

    going, ended = threading.Event(), threading.Semaphore(0)

    def fetch(name: str, source: str, revision: str | None, progress: Any, cancelled: Any) -> Path:
        progress(Progress("a", 5, 10, 0, 1, rate=2.0))
        if name == "acme/broken":
            raise OSError(28, "No space left on device")
        while not going.wait(0.01):
            if cancelled():
                raise FetchCancelled
        return Path("/there")

    monkeypatch.setattr(hubs, "fetch_listed_model", fetch)
    fetches = FetchQueue(lambda job: ended.release())
    first, again = fetches.add_job("acme/one", HUGGINGFACE), fetches.add_job("acme/one", HUGGINGFACE)
    second, third = fetches.add_job("acme/two", HUGGINGFACE), fetches.add_job("acme/broken", MODELSCOPE)
    assert first is again and [job.name for job in fetches.active_jobs] == [
        "acme/one",
        "acme/two",
        "acme/broken",
    ]
    while first.done != 5:
        threading.Event().wait(0.001)
    assert (first.share, first.seconds_left) == (0.5, 2.5) and second.state == WAITING
    fetches.cancel_job(first)
    assert ended.acquire(timeout=60)
    going.set()
    assert ended.acquire(timeout=60) and ended.acquire(timeout=60)
    assert (first.state, second.state, third.state) == (LEFT, DONE, FAILED)
    assert second.folder == Path("/there") and "No space left" in third.words and fetches.active_jobs == []
    fetches.close()


def test_a_fetch_that_stands_still_says_so() -> None:
    job = FetchJob("a/b", HUGGINGFACE, state=queue.FETCHING, moved=100.0)
    assert job.count_still_seconds(101.0) == 0.0 and job.count_still_seconds(130.0) == 30.0


def test_a_config_that_is_none_is_an_error_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps([1]))
    assert (
        find_row_fit({}, ModelRow(str(tmp_path), HERE, whole=True, folder=tmp_path), "", None).state
        == UNSUITED
    )
