"""A model that writes answers the rows of a file: in batches, by prompts, as labels and JSON, in order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import chat_rows, write_jsonl
from tests.core.inference.predicting.models import job, read
from tui_tuner.errors import DataError, DiskFullError, UsageError
from tui_tuner.evaluation.writing.answers import SamplingSettings, cut_answer, make_noise
from tui_tuner.evaluation.writing.causal_writer import CausalWriter
from tui_tuner.inference.loading import ModelKeeper
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.engine import AFTER_BATCH, GO, predict_file
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.operation import run_predict_operation
from tui_tuner.inference.predicting.predictors import TextPredictor
from tui_tuner.launch.helper import Cancelled, Helper

SHORT = {"max_new_tokens": 10}


@pytest.fixture(scope="module")
def origin(tiny_model: Path) -> Origin:
    return Origin("model", "tiny", str(tiny_model))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """40 chats of unequal length with what stands in their own order, and three that cannot be used."""
    found: list[dict[str, Any]] = [{"number": n, **row} for n, row in enumerate(chat_rows(40))]
    for row in found[::3]:
        row["messages"][0]["content"] *= 4
    found[7]["messages"] = None
    found[20]["messages"] = [{"role": "user", "content": "x" * 2000}]
    path = write_jsonl(tmp_path / "rows.jsonl", found)
    lines = path.read_text().splitlines()
    lines[11] = "{broken"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_answers_are_those_of_one_row_alone_and_stand_in_order(origin: Origin, rows: Path) -> None:
    found = predict_file(job(origin, rows, batch_size=7, **SHORT))
    written = read(found.path)
    assert [row.get("number") for row in written] == [n if n != 11 else None for n in range(40)]
    assert [n for n, row in enumerate(written) if row["prediction"] is None] == [7, 11, 20]
    assert [written[n]["problem"] for n in (7, 11)] == ["the chat is empty", "broken JSON"]
    assert "fills the context" in written[20]["problem"]
    assert found.counts.unused == 3 and found.total == found.counts.rows == 40
    (loaded,) = ModelKeeper("cpu").load_all([origin])
    for row in written:
        if row["prediction"] is not None:
            text = f"<|im_start|>user\n{row['messages'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
            ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                out = loaded.model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False)
            alone = loaded.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True).strip()
            assert row["prediction"] == alone


def test_what_is_drawn_for_a_row_depends_on_no_other(origin: Origin, rows: Path, tmp_path: Path) -> None:
    asked = job(origin, rows, temperature=1.5, seed=3, **SHORT)
    outs = []
    for number, (size, seed) in enumerate([(16, 3), (3, 3), (16, 4)]):
        out = tmp_path / f"{number}.jsonl"
        predict_file(
            Job.from_values({**asked.list_job_values(), "out": str(out), "batch_size": size, "seed": seed})
        )
        outs.append([row["prediction"] for row in read(out)])
    assert outs[0] == outs[1]
    assert outs[0] != outs[2] and len({text for text in outs[0] if text}) > 30


def test_gumbel_noise_draws_as_the_softmax_does() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    seeds = list(range(4000))
    (noise,) = make_noise(SamplingSettings(0.8, seeds), torch.device("cpu"))
    drawn = noise(None, logits.expand(len(seeds), 4)).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / len(seeds)
    assert shares.tolist() == pytest.approx((logits / 0.8).softmax(-1).tolist(), abs=0.03)


class Parrot:
    """Makes a model's answers known: what `said` gives for the text of a prompt and the attempt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said: Callable[[str, float], str]) -> None:
        real = CausalWriter.answer_batch

        def answered(writer: CausalWriter, prompts: Any, most: int, at_token: Any, drawing: Any) -> Any:
            heat = drawing.temperature if drawing is not None else 0.0
            tokenizer = writer.tokenizer
            texts = [said(tokenizer.decode(prompt), heat) for prompt in prompts]
            real(writer, prompts, 1, at_token, drawing)  # a real pass of the model all the same
            ids = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
            return [cut_answer(one, tokenizer, {tokenizer.eos_token_id}, "") for one in ids]

        monkeypatch.setattr(CausalWriter, "answer_batch", answered)


def test_labels_are_checked_and_asked_for_again(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a fine coat", "a poor coat", "an odd coat", "an empty coat"]
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in texts])

    def said(prompt: str, heat: float) -> str:
        assert "good, bad" in prompt and "CLUES:" in prompt
        text = prompt.rpartition("Text:\n")[2].partition("<|im_end|>")[0]
        if text == "an odd coat" and not heat:
            return "CLUES: odd\nREASONING: it is odd\nLABEL: odd"
        if text == "an empty coat":
            return "good or bad"
        good = text != "a poor coat"
        return f"CLUES: {text}\nREASONING: so it is\nLABEL: {'Good.' if good else 'BAD'}"

    Parrot(monkeypatch, said)
    found = predict_file(job(origin, path, prompt="carp", labels=("good", "bad"), retries=2))
    written = [row["prediction"] for row in read(found.path)]
    assert written[0] == {"label": "good", "clues": "a fine coat", "reasoning": "so it is"}
    assert [one["label"] for one in written] == ["good", "bad", "good", None]
    assert read(found.path)[3]["problem"].startswith("the answer contains several labels")
    assert found.counts.unlabelled == 1 and found.counts.problems == {"the answer contains several labels": 1}


def test_json_is_checked(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"a b": 1}, {"a b": 2}])
    Parrot(monkeypatch, lambda text, heat: '{"n": 1, "x": 0}' if "{1}" in text else "no")
    found = predict_file(job(origin, path, prompt="Say {keys} of {{{a b}}}", json_keys=("n",)))
    assert [row["prediction"] for row in read(found.path)] == [{"n": 1}, None]
    assert read(found.path)[1]["problem"] == "the answer contains no JSON object with these keys: no"


def after_one_batch(computed: list[int]) -> Callable[[], int]:
    """Asks for the end once more rows are computed than there were."""
    calls = len(computed)
    return lambda: AFTER_BATCH if len(computed) > calls else GO


def test_it_goes_on_where_it_was_stopped_and_keeps_what_is_ahead(origin: Origin, rows: Path) -> None:
    asked = job(origin, rows, batch_size=4, **SHORT)
    whole = predict_file(asked)
    wanted = Path(whole.path).read_bytes()
    passes = 0
    computed: list[int] = []
    real = TextPredictor._attempt_batch

    def counted(self: TextPredictor, batch: Any, *more: Any) -> Any:
        computed.extend(one.number for one in batch)
        return real(self, batch, *more)

    again = Job.from_values({**asked.list_job_values(), "out": asked.out + ".2"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextPredictor, "_attempt_batch", counted)
        while passes < 60:
            found = predict_file(again, stop=after_one_batch(computed))
            passes += 1
            if found.is_done:
                break
            assert found.stopped
    assert passes > 5 and Path(again.out).read_bytes() == wanted
    assert len(computed) == len(set(computed)) == 38  # each row once, though they are computed out of order


def test_what_was_begun_otherwise_is_refused(
    origin: Origin, rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    asked = job(origin, rows, batch_size=4, **SHORT)
    predict_file(asked)
    before = Path(asked.out).read_bytes()

    def refused(**more: Any) -> str:
        with pytest.raises(UsageError) as caught:
            predict_file(Job.from_values({**asked.list_job_values(), **more}))
        return str(caught.value)

    assert "--max-new-tokens was 10" in refused(max_new_tokens=11)
    assert "--system was" in refused(system="Hello")
    assert "the model was tiny" in refused(
        model={**origin.list_origin_values(), "path": "demo", "name": "demo"}
    )
    predict_file(
        Job.from_values(
            {**asked.list_job_values(), "model": {**origin.list_origin_values(), "name": "./tiny"}}
        )
    )  # called otherwise
    predict_file(Job.from_values({**asked.list_job_values(), "batch_size": 9}))  # which changes nothing
    rows.write_text(rows.read_text() + '{"messages": []}\n')
    assert f"{rows} has changed since" in refused()
    assert Path(asked.out).read_bytes() == before
    found = predict_file(Job.from_values({**asked.list_job_values(), "force": True}))
    assert found.before == 0 and found.counts.rows == 41
    with pytest.raises(UsageError, match="one of the input files"):
        predict_file(Job.from_values({**asked.list_job_values(), "out": str(rows), "force": True}))
    with pytest.raises(UsageError, match="one of the input files"):
        predict_file(
            Job.from_values(
                {**asked.list_job_values(), "path": str(tmp_path), "out": str(tmp_path / "new.jsonl")}
            )
        )
    other = tmp_path / "own.jsonl"
    other.write_text("something of mine\n")
    with pytest.raises(UsageError, match="it is not known what it was made from"):
        predict_file(Job.from_values({**asked.list_job_values(), "out": str(other)}))
    assert other.read_text() == "something of mine\n"


def test_a_refusal_leaves_no_file_behind(origin: Origin, tmp_path: Path) -> None:
    late = write_jsonl(
        tmp_path / "rows.jsonl", [*({"text": "a"} for _ in range(300)), {"text": "b", "prediction": 1}]
    )
    with pytest.raises(UsageError, match=r"rows.jsonl:301.*--field"):
        predict_file(job(origin, late))
    with pytest.raises(DataError, match="--column"):
        predict_file(job(origin, write_jsonl(tmp_path / "n.jsonl", [{"n": 1, "m": 2}])))
    with pytest.raises(UsageError, match=r"Did you mean {text}"):
        predict_file(job(origin, late, field="said", prompt="{txt}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.jsonl", "rows.jsonl"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_is_said_and_what_is_whole_stays(
    origin: Origin, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job(origin, rows, batch_size=4, **SHORT)
    wanted = Path(predict_file(asked).path).read_bytes()
    again = Job.from_values({**asked.list_job_values(), "out": asked.out + ".2"})
    real, room = os.write, 2500

    def write(fd: int, data: Any) -> int:
        nonlocal room
        if os.readlink(f"/proc/self/fd/{fd}") != again.out:
            return real(fd, data)
        if not room:
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(data)
        done = real(fd, bytes(data)[:room])
        room -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(DiskFullError, match=r"No space left.*continues where it stopped"):
            predict_file(again)
    part = Path(again.out).read_bytes()
    assert part and wanted.startswith(part) and part.endswith(b"\n")
    found = predict_file(again)
    assert found.before == part.count(b"\n") and Path(again.out).read_bytes() == wanted


def test_the_operation_tells_what_it_does(origin: Origin, rows: Path) -> None:
    told: list[dict[str, Any]] = []
    found = run_predict_operation(
        job(origin, rows, batch_size=4, **SHORT).list_job_values(), told.append, lambda: False
    )
    assert found["done"] and found["rows"] == 40 and found["unused"] == 3
    doing = [one.get("doing") for one in told]
    assert doing[0] == "counting" and "loading" in doing and doing[-1] == "predicting"
    assert told[-1]["rows"] == told[-1]["total"] == 40 and told[-1]["tokens"] > 100
    newest = [shown for one in told for shown in one.get("newest", ())]
    assert newest and newest[-1]["row"] == 40 and newest[-1]["prediction"]


def test_a_helper_is_cancelled_and_has_written_what_it_had(origin: Origin, rows: Path) -> None:
    asked = job(origin, rows, batch_size=1, max_new_tokens=200)

    def tell(message: dict[str, Any]) -> None:
        if message.get("doing") == "predicting" and message["rows"] > 8:
            request.cancel()

    with Helper() as helper:
        request = helper.prepare_request("predict", asked.list_job_values(), progress=tell)
        with pytest.raises(Cancelled) as caught:
            request.wait_for_result()
    assert caught.value.result["stopped"] and not caught.value.result["done"]
    state = json.loads(Path(asked.out + ".state.json").read_text())
    assert state["rows"] == 40 and caught.value.result["rows"] + len(state["ahead"]) > 8
    assert len(read(asked.out)) == caught.value.result["rows"]
