"""Which models are proposed for which task: real folders, a played hub, and machines that are not here."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import PlayedHub, hub  # noqa: F401
from tui_tuner import demo
from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values, set_config_path, validate_values
from tui_tuner.errors import ConfigError, HardwareError
from tui_tuner.guiding.models import find_choice, find_smaller_model, list_ways_out, rank_models, watch_models
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.runs.events import RunStarted, Step
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore

ROWS = DataFacts(1000, tokens=150_000, supervised=60_000, longest=400)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and caches of nobody."""
    from huggingface_hub import constants

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return work


def put_model(place: Path, card: str = "") -> Path:
    """The model of the demo in a folder of its own, with a card of its own or none."""
    shutil.copytree(demo.MODEL_DIR, place)
    (place / "README.md").unlink()
    if card:
        (place / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    return place


def put_encoder(place: Path) -> Path:
    """A BERT of one layer, with its config and weights as they are stored."""
    import numpy as np
    from safetensors.numpy import save_file

    place.mkdir(parents=True)
    config = {"model_type": "bert", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 64, "architectures": ["BertModel"]}
    (place / "config.json").write_text(json.dumps(config))
    (place / "tokenizer_config.json").write_text("{}")
    save_file(
        {"embeddings.word_embeddings.weight": np.zeros((100, 32), "float32")}, place / "model.safetensors"
    )
    return place


def test_nothing_here_proposes_what_can_begin_at_once():
    for task, name in (
        ("sft", "demo"),
        ("classification", "tiny"),
        ("question_answering", "tiny"),
    ):
        best = next(watch_models(task, data=ROWS))[0]
        assert (best.name, best.here, best.fits_machine) == (name, True, True), task
        values: dict[str, Any] = {"task": task}
        for path, value in best.values.items():
            set_config_path(values, path, value)
        assert validate_values(RunConfig, values).model.name


def test_the_first_list_has_what_is_here(alone: Path):
    put_model(alone / "models" / "mine", "license: mit\nlanguage: [de, en]")
    lists = watch_models("sft", data=ROWS)
    first = next(lists)
    assert [choice.short_name for choice in first] == ["mine", "demo"]
    mine = first[0]
    assert mine.here and mine.fetch == 0 and mine.licence == "mit" and mine.languages == ("de", "en")
    assert mine.seconds and mine.seconds[0] < mine.seconds[1] < mine.seconds[2] and mine.cost is None
    assert f"{mine.needs:.1f} of {mine.there:.1f} GiB" in mine.why and "1,000 rows" in mine.why
    assert mine.parameters and mine.kind == "chat"
    *_unused, last = lists
    assert len(last) > 20 and last[0].name == mine.name
    assert find_choice(last, "models/mine") is not None


def test_a_model_stands_by_what_its_task_needs(alone: Path):
    put_model(alone / "writer")
    put_encoder(alone / "reader")
    for task, wanted in (("sft", "writer"), ("classification", "reader"), ("token_classification", "reader")):
        assert next(watch_models(task, data=ROWS))[0].short_name == wanted
    reader = find_choice(next(watch_models("sft", data=ROWS)), "reader")
    assert (
        reader is not None
        and reader.state == "unsuited"
        and not reader.fits_machine
        and "cannot write" in reader.why
    )


def test_languages_are_what_a_card_says(alone: Path):
    put_model(alone / "silent")
    put_model(alone / "german", "language: de\nlicense: apache-2.0")
    put_model(alone / "english", "language:\n- en\nlicense: apache-2.0")
    found = [one for one in rank_models("sft", data=ROWS, languages=("de",)) if one.origin == "folder"]
    assert [(one.short_name, one.speaks) for one in found] == [
        ("german", True),
        ("silent", None),
        ("english", False),
    ]
    assert "does not say" in found[1].why and "names en, not de" in found[2].why
    assert found[1].licence == "" and found[1].languages == ()


@pytest.mark.parametrize(
    ("task", "machine", "kind", "least", "most"),
    [
        ("sft", "RTX 4090", "chat", 3e9, 9e9),
        ("token_classification", "24", "encoder", 1e8, 1e9),
        ("pretraining", "H100", "base", 1e10, 4e10),
        ("classification", "RTX 4090", "encoder", 1e8, 1e9),
    ],
)
def test_what_another_machine_would_train(task: str, machine: str, kind: str, least: float, most: float):
    found = rank_models(task, data=ROWS, machine=machine, price=0.5)
    best = found[0]
    assert best.fits_machine and best.kind == kind and least < (best.parameters or 0) < most
    assert best.licence and best.needs <= best.there and not best.here and best.fetch
    states = [choice.fits_machine for choice in found]
    assert states == sorted(states, reverse=True)
    if machine != "24":  # nobody knows the speed of so many GiB
        assert best.seconds and best.cost and best.cost[1] == pytest.approx(best.seconds[1] / 3600 * 0.5)
    quantised = [one for one in found if one.values.get("model.quantization") == "nf4"]
    assert all(one.state == "changed" and "4-bit" in one.why for one in quantised)
    assert quantised or task != "sft"


def test_a_budget_is_a_limit():
    free = rank_models("sft", data=ROWS, machine="RTX 4090")
    assert free[0].seconds and free[0].within is None
    short = free[0].seconds[1] / 2
    tight = rank_models("sft", data=ROWS, machine="RTX 4090", budget=f"{short:.0f} s")
    assert tight[0].within and (tight[0].parameters or 0) < (free[0].parameters or 0)
    over = next(one for one in tight if one.name == free[0].name)
    assert over.within is False and "more than the budget" in over.why
    money = rank_models("sft", data=ROWS, machine="RTX 4090", budget=short / 3600 * 2, price=2)
    assert [one.name for one in money] == [one.name for one in tight]
    unpriced = rank_models("sft", data=ROWS, machine="RTX 4090", budget=1.5)
    assert unpriced[0].within is None and unpriced[0].name == free[0].name


def test_terms_that_have_to_be_accepted_are_said():
    found = rank_models("sft", data=ROWS, machine="RTX 4090")
    llama = next(one for one in found if one.name == "meta-llama/Llama-3.1-8B-Instruct")
    assert llama.gated and llama.licence == "llama3.1" and "Gated" in llama.why
    open_one = next(one for one in found if one.name == "Qwen/Qwen3-8B")
    assert found.index(open_one) < found.index(llama)


def test_what_does_not_fit_has_ways_out():
    found = rank_models("sft", data=ROWS, machine="RTX 4090")
    large = next(one for one in found if one.name == "meta-llama/Llama-3.3-70B-Instruct")
    assert large.state == "misfit" and large.needs > large.there and f"{large.needs:.1f}" in large.why
    smaller, card = list_ways_out(large, found, "sft", ROWS)
    lesser = find_smaller_model(found, large)
    assert lesser is not None and smaller.values["model.name"] == lesser.name and not smaller.machine
    assert lesser.fits_machine and (lesser.parameters or 0) < (large.parameters or 0)
    assert card.machine and card.machine in card.words and card.values["model.name"] == large.name
    again = rank_models("sft", data=ROWS, machine=card.machine)
    assert next(one for one in again if one.name == large.name).fits_machine
    assert not list(list_ways_out(found[0], found, "sft", ROWS))


def test_the_model_of_a_run_comes_after_those_it_began_with(alone: Path):
    put_model(alone / "base-model")
    run = alone / "runs" / "first"
    put_model(run / "best")
    (run / "config.yaml").write_text("task: sft\n")
    (run / "events.jsonl").write_text("")
    found = [one for one in rank_models("sft", data=ROWS) if one.here]
    assert [one.origin for one in found] == ["folder", "run", "package"]
    assert "already trained on something else" in found[1].why


def test_a_folder_that_is_not_whole_cannot_be_taken(alone: Path):
    place = put_model(alone / "half")
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    half = find_choice(next(watch_models("sft", data=ROWS)), "half")
    assert half is not None and not half.fits_machine and "1 of 2 weight files" in half.why


def test_damaged_folders_are_passed_over_with_a_word(alone: Path):
    put_model(alone / "whole")
    bad = put_model(alone / "bad", card="license: [1, 2\n  x: {")
    (bad / "config.json").write_text('{"model_type": "llama", "hidden_size": -3}')
    found = rank_models("sft", data=ROWS)
    assert found[0].short_name == "whole"
    broken = find_choice(found, "bad")
    assert broken is not None and not broken.fits_machine and broken.why


def test_a_hub_is_asked_only_where_that_is_allowed(hub: PlayedHub):  # noqa: F811
    card = {"license": "mit", "language": ["de", "en"]}
    hub.add_demo("acme/small-instruct", card=card, tags=("safetensors", "transformers"))
    assert not any(one.name.startswith("acme/") for one in rank_models("sft", data=ROWS))
    assert not hub.requests
    found = rank_models("sft", data=ROWS, network=True, languages=("de",))
    acme = next(one for one in found if one.name == "acme/small-instruct")
    assert acme.origin == "hub" and acme.fits_machine and acme.licence == "mit" and acme.fetch
    assert acme.languages == ("de", "en") and acme.speaks and "it knows de" in acme.why
    assert found[0].origin != "package"  # what can be fetched comes before a toy
    hub.refuse("/api/models", 500)
    assert rank_models("sft", data=ROWS, network=True)


def test_a_toy_comes_first_only_where_nothing_can_be_fetched(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for offline, network, first in (
        (True, False, "package"),
        (False, False, "catalog"),
        (False, True, "package"),
    ):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        found = rank_models("classification", data=ROWS, network=network)
        assert found[0].origin == first and found[0].fits_machine, (offline, network)


def test_a_hub_is_silent_once_that_is_known(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    from tui_tuner.config.kinds.tasks import TASKS
    from tui_tuner.guiding.models.hub_search import HubSearch

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    answers = HubSearch(TASKS["sft"], lambda: False)
    assert not answers.wait_until_reached() and answers.is_silent


def test_the_speed_of_a_run_here_is_believed(alone: Path):
    place = put_model(alone / "mine")
    before = find_choice(next(watch_models("sft", data=ROWS)), "mine")
    config = edit_values(RunConfig(), {"model.name": str(place), "method.kind": "lora"})
    folder = RunStore(alone / "runs").create_run(config)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(config={}, versions={}, device="CPU x (2 cores)", process=1, total_steps=8))
    for step in range(1, 9):
        journal.emit(Step(step=step, tokens=1000, seconds=0.5))
    journal.close()
    after = find_choice(next(watch_models("sft", data=ROWS)), "mine")
    assert before is not None and after is not None
    assert after.basis != before.basis and "2,000 tokens/s" in after.basis


def test_a_plan_is_made_once(monkeypatch: pytest.MonkeyPatch):
    from tui_tuner.guiding.models import fitting

    first = rank_models("sft", data=ROWS, machine="RTX 4090")
    monkeypatch.setattr(fitting, "plan_run", None)  # nothing plans any more
    assert rank_models("sft", data=ROWS, machine="RTX 4090") == first


def test_it_can_be_left(alone: Path):
    put_model(alone / "mine")
    assert [one.short_name for one in rank_models("sft", stop=lambda: True)] == []
    asked = iter([False, False, True])
    assert rank_models("sft", stop=lambda: next(asked, True))


def test_a_task_of_ones_own_has_choices(monkeypatch: pytest.MonkeyPatch):
    toy = TaskKind("toy", "Toy", "A toy.", writes=False, decides="text", tiny="tiny-bert")
    monkeypatch.setitem(TASKS, "toy", toy)
    found = rank_models("toy", data=ROWS, machine="L4")
    assert found[0].fits_machine and found[0].kind == "encoder"


def test_what_is_asked_wrongly_is_said():
    with pytest.raises(ConfigError, match="unknown task"):
        rank_models("sing")
    with pytest.raises(HardwareError, match="no GPU is called"):
        rank_models("sft", machine="RTX 9999999")
    with pytest.raises(ConfigError, match="neither a time nor an amount"):
        rank_models("sft", budget="soon")


def test_it_needs_no_heavy_library():
    import subprocess

    code = (
        "import sys, tui_tuner.guiding.models, tui_tuner.guiding.machine as m; m.list_machines();"
        "print([n for n in ('torch', 'transformers', 'textual', 'huggingface_hub') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_hub_that_never_answers_keeps_nobody(alone: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    from huggingface_hub import constants

    from tui_tuner.guiding.models import hub_search

    put_model(alone / "mine")
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes calls, and says nothing
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_search, "HUB_SECONDS", 0.3)
        lists = list(watch_models("classification", data=ROWS, network=True))
    assert lists[0][0].short_name == lists[-1][0].short_name == "mine"
    assert {one.origin for one in lists[-1]} == {"folder", "package", "catalog"}
