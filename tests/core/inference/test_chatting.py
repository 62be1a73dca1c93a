"""Models answer piece by piece, alone and side by side; those of one base model share its weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tui_tuner.config.load import build_config
from tui_tuner.errors import ModelError, OutOfMemoryError, RunError, UsageError
from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.inference.answering import PieceDecoder, answer_with_all_models
from tui_tuner.inference.loading import LoadedModel, ModelKeeper
from tui_tuner.inference.origin import Origin, find_base_origin, find_origin, list_loadable_checkpoints
from tui_tuner.inference.prompts import encode_chat_prompt
from tui_tuner.inference.sampling import Sampling
from tui_tuner.launch.helper import Helper
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.runs.store import RunFolder, RunStore

TURNS = [{"role": "user", "content": "Describe the coat, it is blue."}]
FREE = Sampling(temperature=1.3, max_new_tokens=12, seed=5)


@pytest.fixture(scope="module")
def ran(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A LoRA run of the tiny model, of six steps."""
    root = tmp_path_factory.mktemp("talk")
    values: dict[str, Any] = {
        "model": {"name": str(tiny_model), "dtype": "float32"},
        "data": {"path": str(write_jsonl(root / "chats.jsonl", chat_rows())), "workers": 1},
        "method": {"kind": "lora", "rank": 4},
        "training": {"max_steps": 6, "batch_size": 8, "learning_rate": 0.05, "autocast": False},
        "evaluation": {"samples": 0, "every": 3},
        "output": {"folder": str(root / "runs"), "name": "small", "save_every": 3},
        "hardware": {"devices": "cpu"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        run = Trained(build_config(values))
    assert run.outcome.status == "completed", run.outcome
    return run.folder


@pytest.fixture
def store(ran: RunFolder) -> RunStore:
    return RunStore(ran.path.parent)


def load(origins: list[Origin]) -> list[LoadedModel]:
    return ModelKeeper("cpu").load_all(origins)


def said(loaded: list[LoadedModel], sampling: Sampling) -> list[str]:
    prompts = [encode_chat_prompt(one, TURNS) for one in loaded]
    heard = [""] * len(loaded)

    def hear(place: int, piece: str, tokens: int) -> None:
        heard[place] += piece

    answers = answer_with_all_models(loaded, prompts, sampling, hear)
    assert [answer.text for answer in answers] == heard  # what streamed is what there is
    assert all(answer.tokens <= sampling.max_new_tokens for answer in answers)
    return heard


def test_an_answer_is_that_of_the_evaluation(store: RunStore) -> None:
    (loaded,) = load([find_origin("small", store)])
    ids = encode_chat_prompt(loaded, TURNS)
    (whole,) = generate_answers(loaded.model, loaded.tokenizer, [ids], 24)
    (heard,) = said([loaded], Sampling(max_new_tokens=24))
    assert heard.rstrip() == whole.text and heard


def test_side_by_side_each_says_what_it_says_alone(store: RunStore) -> None:
    origins = [
        find_origin("small/last", store),
        find_origin("small/step-3", store),
        find_origin("small/base", store),
    ]
    together = said(load(origins), FREE)
    alone = [said(load([origin]), FREE)[0] for origin in origins]
    assert together == alone
    assert len(set(together)) == 3  # three models, not one three times


def test_an_adapter_is_put_onto_weights_that_are_there(store: RunStore) -> None:
    tuned, base = load([find_origin("small", store), find_base_origin(find_origin("small", store))])
    inside = tuned.model.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    assert inside.data_ptr() == base.model.model.layers[0].self_attn.q_proj.weight.data_ptr()
    assert not hasattr(base.model, "peft_config")
    again = load([find_base_origin(find_origin("small", store))])[0]  # untouched by the adapter beside it
    ids = torch.tensor([encode_chat_prompt(base, TURNS)])
    with torch.no_grad():
        assert torch.equal(base.model(ids).logits, again.model(ids).logits)
        assert not torch.equal(base.model(ids).logits, tuned.model(ids).logits)


def test_all_weights_trained_are_shared_with_nobody(
    make_config: MakeConfig, train: Callable[..., Trained]
) -> None:
    run = train(make_config(output__name="whole", method={"kind": "full"}))
    store = RunStore(run.folder.path.parent)
    names = ["whole", "whole/step-3", "whole/base"]
    whole = load([find_origin(name, store) for name in names])
    weights = {one.model.model.layers[0].self_attn.q_proj.weight.data_ptr() for one in whole}
    assert len(weights) == 3


def test_models_stay_until_others_are_asked_for(store: RunStore) -> None:
    models = ModelKeeper("cpu")
    first = find_origin("small", store)
    (one,) = models.load_all([first])
    assert models.load_all([first])[0] is one
    both = models.load_all([first, find_base_origin(first)])
    assert both[0] is one
    models.load_all([find_base_origin(first)])
    assert models.load_all([first])[0] is not one


def test_how_a_model_is_named(store: RunStore, ran: RunFolder, tiny_model: Path, tmp_path: Path) -> None:
    by_name = find_origin("small", store)
    assert (by_name.kind, by_name.checkpoint, by_name.task) == ("run", "best", "sft")
    elsewhere = RunStore(tmp_path / "none")
    for name in (str(ran.path), str(ran.best_path), f"{ran.path}/last", f"{ran.checkpoints_path}/step-3"):
        found = find_origin(name, elsewhere)
        assert (found.kind, found.path) == ("run", str(ran.path)), name
    assert find_origin(f"{ran.checkpoints_path}/step-3", elsewhere).checkpoint == "step-3"
    assert list_loadable_checkpoints(by_name) == ["best", "last", "step-6", "step-3", "base"]
    copied = tmp_path / "taken-home"
    copied.symlink_to(ran.best_path)
    assert find_origin(str(copied), elsewhere).kind == "adapter"
    assert find_origin(str(tiny_model), elsewhere).kind == "model"
    hub = find_origin("some/model@abc", elsewhere)
    assert (hub.kind, hub.path, hub.revision) == ("hub", "some/model", "abc")
    assert Origin.from_values(json.loads(json.dumps(by_name.list_origin_values()))) == by_name


def test_what_is_no_model_is_refused(store: RunStore, tmp_path: Path) -> None:
    for name, kind in (("nosuch", RunError), (str(tmp_path), ModelError), ("./nosuch", ModelError)):
        with pytest.raises(kind):
            find_origin(name, store)
    with pytest.raises(UsageError, match="step-9"):
        find_origin("small", store, "step-9")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        find_origin(str(tmp_path / "broken"), store)


@pytest.mark.parametrize("text", ["Grüße, 你好 — 🧥 a coat", "  two  spaces\n\nand lines\n"])
def test_pieces_are_the_whole(tiny_tokenizer: Any, text: str) -> None:
    ids = tiny_tokenizer(text)["input_ids"]
    pieces = PieceDecoder(tiny_tokenizer)
    heard = [pieces.add_token(token) for token in ids]
    assert "".join(heard) + pieces.take_rest() == text
    assert not any("\ufffd" in piece for piece in heard)  # no half of a character


def test_a_full_context_is_said(store: RunStore) -> None:
    (loaded,) = load([find_origin("small", store)])
    (answer,) = answer_with_all_models([loaded], [[5] * 508], Sampling(max_new_tokens=50), lambda *_: None)
    assert answer.tokens <= 4 and ("512" in answer.note or answer.stopped)
    with pytest.raises(UsageError, match="512"):
        answer_with_all_models([loaded], [[5] * 512], Sampling(), lambda *_: None)


@pytest.fixture
def helper() -> Iterator[Helper]:
    with Helper() as made:
        yield made


def test_a_helper_streams_stops_and_comes_back_after_its_death(helper: Helper, store: RunStore) -> None:
    models = [
        find_origin("small", store).list_origin_values(),
        find_origin("small/base", store).list_origin_values(),
    ]
    asked = {"models": models, "device": "cpu", "turns": [TURNS, TURNS]}
    told: list[Any] = []
    found = helper.ask_and_wait(
        "chat_answer", {**asked, "sampling": {"max_new_tokens": 16}}, progress=told.append
    )
    assert {one["loading"] for one in told if "loading" in one} == {"small · best", "small · base"}
    for place, answer in enumerate(found):
        assert "".join(one["piece"] for one in told if one.get("model") == place) == answer["text"]
    first, second = helper.ask_and_wait("chat_tokens", asked)
    assert first == second and ["<|im_start|>", True] in [[text, special] for _id, text, special in first]

    endless = {**asked, "sampling": {"max_new_tokens": 400, "temperature": 100.0, "seed": 1}}
    begun = threading.Event()
    request = helper.prepare_request(
        "chat_answer", endless, progress=lambda one: "piece" in one and begun.set()
    )
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            request.wait_for_result()
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(60) and request.pid is not None
    os.kill(request.pid, signal.SIGKILL)
    thread.join(60)
    assert isinstance(outcome[0], ProcessEnded)
    again = helper.ask_and_wait("chat_answer", {**asked, "sampling": {"max_new_tokens": 16}})
    assert [answer["text"] for answer in again] == [answer["text"] for answer in found]


def command(*arguments: str, typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui_tuner", "chat", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_line_in_and_an_answer_out(store: RunStore) -> None:
    where = ("--runs", str(store.root), "--device", "cpu", "--max-new-tokens", "12")
    (loaded,) = load([find_origin("small", store)])
    (expected,) = said([loaded], Sampling(max_new_tokens=12))
    done = command("small", *where, typed=TURNS[0]["content"] + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected + "\n"
    both = command("small", "--with", "base", "--json", *where, typed=f"{TURNS[0]['content']}\n\nAnd red?\n")
    lines = [json.loads(line) for line in both.stdout.splitlines()]
    answers = [line for line in lines if "answer" in line]
    assert [line["model"] for line in answers] == ["small · best", "small · base"] * 2
    pieces = "".join(line["piece"] for line in lines if "piece" in line and line["model"] == "small · best")
    assert pieces == "".join(line["answer"]["text"] for line in answers[::2])
    assert answers[0]["answer"]["text"] == expected
    assert answers[2]["answer"]["prompt_tokens"] > answers[0]["answer"]["prompt_tokens"]  # it remembers


def test_a_model_that_writes_nothing_is_refused(tmp_path: Path, make_config: MakeConfig, train: Any) -> None:
    rows = [{"text": f"row {number} is good", "label": ("no", "yes")[number % 2]} for number in range(40)]
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run = train(make_config(task="classification", data__path=str(data), training__max_steps=2))
    assert run.outcome.status == "completed", run.outcome
    done = command(str(run.folder.path), "--device", "cpu", typed="hello\n")
    assert done.returncode == 2 and "tui-tuner ask" in done.stderr


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    store: RunStore, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.inference import room

    size = sum(file.stat().st_size for file in tiny_model.glob("*.safetensors"))
    monkeypatch.setattr(room, "measure_free_memory", lambda _device: int(1.5 * size))
    models = ModelKeeper("cpu")
    models.load_all([find_origin("small", store), find_origin("small/base", store)])  # one base for both
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    with pytest.raises(OutOfMemoryError, match="other"):
        ModelKeeper("cpu").load_all([find_origin(str(other), store), find_origin(str(tiny_model), store)])
    assert len(models.load_all([find_origin(str(other), store)])) == 1
