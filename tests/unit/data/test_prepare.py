"""From files to tokens: the ledger closes, nothing is lost without a word, and the same comes out again."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, LLAMA3
from small_tokenizers import byte_level

from tests.conftest import Recorder
from tui_tuner.config.load import build_config
from tui_tuner.data.examples import documents, workers
from tui_tuner.data.examples.held_out import make_held_out_prompts
from tui_tuner.data.examples.prepare import (
    PreparedRows,
    PreparingCancelled,
    prepare_examples,
    read_training_texts,
)
from tui_tuner.data.records import IGNORE, make_next_token_mask
from tui_tuner.errors import DataError, PreflightError
from tui_tuner.tasks import find_task


@pytest.fixture
def tokenizer() -> Any:
    found = byte_level(CHATML.specials, None, CHATML.eos)
    found.chat_template = CHATML.template
    return found


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {i}?", "response": f"answer {i}!"} for i in range(count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def made(tmp_path: Path, tokenizer: Any, source: Any, task: str = "sft", **data: Any) -> PreparedRows:
    config = build_config({"task": task, "data": {"path": source, "workers": 1, **data}})
    return prepare_examples(config, tokenizer, find_task(task), cache_dir=tmp_path / "cache")


def answers(tokenizer: Any, rows: Any) -> list[str]:
    return [
        tokenizer.decode(one.ids[make_next_token_mask(one.labels)])
        for one in (rows[i] for i in range(len(rows)))
    ]


def test_rows_become_tokens_once_each(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", rows_of(100))
    found = made(tmp_path, tokenizer, str(path), validation=0.1)
    assert found.validation is not None and len(found.validation) == 10 and len(found.train) == 90
    every = answers(tokenizer, found.train) + answers(tokenizer, found.validation)
    assert sorted(every) == sorted(f"answer {i}!<|im_end|>" for i in range(100))
    ids, labels = found.train[0].ids, found.train[0].labels
    assert ids.dtype == labels.dtype == np.int32 and len(ids) == len(labels) == found.train.lengths[0]
    assert (labels != IGNORE).sum() == found.train.trained_tokens[0]
    learnt = np.flatnonzero(labels != IGNORE)
    assert labels[learnt].tolist() == ids[learnt + 1].tolist(), "a label is the id that comes next"
    assert f"question {found.train.example_origin(0).line - 1}?" in tokenizer.decode(ids)
    assert (
        found.ledger.is_consistent
        and found.ledger.read == 100
        and found.list_stop_ids == [tokenizer.eos_token_id]
    )
    again = made(tmp_path, tokenizer, str(path), validation=0.1)
    assert again.validation is not None
    assert answers(tokenizer, again.validation) == answers(tokenizer, found.validation)
    other = made(tmp_path, tokenizer, str(path), validation=0.1, seed=7)
    assert answers(tokenizer, other.validation) != answers(tokenizer, found.validation)


def test_cache_knows_content_template_and_settings(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", rows_of(20))
    folders = lambda: sorted(item.name for item in (tmp_path / "cache").iterdir())  # noqa: E731
    made(tmp_path, tokenizer, str(path))
    assert len(folders()) == 1
    made(tmp_path, tokenizer, str(path), validation=0.2, seed=3, max_dropped=0.5)
    assert len(folders()) == 1, "what changes no token is no other cache"
    write(path, rows_of(21))
    assert len(made(tmp_path, tokenizer, str(path), validation=None).train) == 21
    made(tmp_path, tokenizer, str(path), max_length=64)
    tokenizer.chat_template = "{{ 'x' }}" + CHATML.template
    made(tmp_path, tokenizer, str(path))
    assert len(folders()) == 4 and not any(name.startswith(".") for name in folders())


def test_processes_give_the_same_as_one(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", [*rows_of(300), {"prompt": "x", "response": ""}])
    one = made(tmp_path / "1", tokenizer, str(path), validation=None)
    two = made(tmp_path / "2", tokenizer, str(path), validation=None, workers=2)
    assert one.ledger.to_json() == two.ledger.to_json() and one.list_stop_ids == two.list_stop_ids
    assert answers(tokenizer, one.train) == answers(tokenizer, two.train)


def test_dead_processes_are_replaced_by_this_one(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: Any, **__: Any) -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(workers, "ProcessPoolExecutor", dead)
    path = write(tmp_path / "a.jsonl", rows_of(300))
    assert len(made(tmp_path, tokenizer, str(path), validation=None, workers=2).train) == 300


def test_dropping_more_than_the_limit_stops(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", [*rows_of(95), *[{"prompt": "x", "response": " "}] * 5])
    with pytest.raises(
        DataError, match=r"a\.jsonl:96: 5 of 100 rows \(5\.0%\).*response is empty.*max_dropped=0\.05"
    ):
        made(tmp_path, tokenizer, str(path))
    found = made(tmp_path, tokenizer, str(path), max_dropped=0.05)
    assert found.ledger.outcomes["dropped"] == 5 and found.ledger.is_consistent


def long_chat(turns: int, words: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}]
    for i in range(turns):
        messages += [
            {"role": "user", "content": f"question {i}?"},
            {"role": "assistant", "content": f"answer {i} " + "word " * words + "end"},
        ]
    return {"messages": messages}


def test_long_chats_are_split_between_turns_and_each_answer_trained_once(
    tmp_path: Path, tokenizer: Any
) -> None:
    path = write(tmp_path / "a.jsonl", [long_chat(12, 5), long_chat(1, 2)])
    found = made(tmp_path, tokenizer, str(path), max_length=160, validation=None)
    assert found.ledger.outcomes["split"] == 1 and found.ledger.outcomes["kept"] == 1
    assert len(found.train) == found.ledger.pieces > 3 and found.train.lengths.max() <= 160
    ends = "".join(answers(tokenizer, found.train)).split("<|im_end|>")[:-1]
    assert sorted(ends) == sorted(
        [f"answer {i} " + "word " * 5 + "end" for i in range(12)] + ["answer 0 word word end"]
    )
    for index in range(len(found.train)):
        assert "Be brief." in tokenizer.decode(found.train[index].ids)
    last = made(tmp_path, tokenizer, str(path), max_length=160, validation=None, train_on="last_answer")
    assert len(answers(tokenizer, last.train)) == 2


def test_overlong_rows_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", [long_chat(1, 200), *[long_chat(1, 2)] * 3])
    wide = {"max_length": 100, "max_dropped": 0.5, "validation": None}
    for overlong in ("split", "drop"):
        found = made(tmp_path, tokenizer, str(path), overlong=overlong, **wide)
        assert found.ledger.outcomes["dropped"] == 1
        assert "max_length" in found.ledger.list_reasons("dropped")[0].reason
    cut = made(tmp_path, tokenizer, str(path), overlong="truncate", **wide)
    assert cut.ledger.outcomes["truncated"] == 1 and cut.train.lengths.max() == 100
    assert [problem.code for problem in cut.report.list_warnings][-1] == "answers_cut"


def test_validation_file_and_leakage(tmp_path: Path, tokenizer: Any) -> None:
    train = write(tmp_path / "train.jsonl", rows_of(40))
    clean = write(tmp_path / "clean.jsonl", [{"prompt": "other?", "response": "yes"}] * 3)
    found = made(tmp_path, tokenizer, str(train), validation=str(clean))
    assert found.validation is not None and len(found.validation) == 3 and len(found.train) == 40
    some = write(tmp_path / "some.jsonl", [*rows_of(1), *[{"prompt": "other?", "response": "yes"}] * 3])
    assert [
        p.code for p in made(tmp_path, tokenizer, str(train), validation=str(some)).report.list_warnings
    ] == ["leakage"]
    counted = made(tmp_path, tokenizer, str(train), validation=str(some)).ledger.splits
    assert counted["validation_rows_trained"] == 1 and counted["training_rows_repeated"] == 0
    twice = write(tmp_path / "twice.jsonl", [*rows_of(20), *rows_of(5)])
    repeated = made(tmp_path, tokenizer, str(twice), validation=0.1).ledger.splits
    assert repeated["validation_rows_trained"] == 0 and repeated["training_rows_repeated"] in range(2, 11, 2)
    same = write(tmp_path / "same.jsonl", rows_of(5))
    with pytest.raises(PreflightError, match="also trained on"):
        made(tmp_path, tokenizer, str(train), validation=str(same))
    assert made(tmp_path, tokenizer, str(train), validation=str(same), preflight="warn").report.list_errors


def test_equal_rows_stay_on_one_side(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", rows_of(30) * 4)
    found = made(tmp_path, tokenizer, str(path), validation=0.2)
    assert not set(answers(tokenizer, found.train)) & set(answers(tokenizer, found.validation))
    assert len(found.validation or []) == 24


def test_weights_repeat_and_thin_out(tmp_path: Path, tokenizer: Any) -> None:
    one = write(tmp_path / "one.jsonl", rows_of(50))
    two = write(tmp_path / "two.jsonl", [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(200)])
    source = [{"path": str(one), "weight": 2}, {"path": str(two), "weight": 0.5}]
    found = made(tmp_path, tokenizer, source, validation=None)
    every = answers(tokenizer, found.train)
    assert sum(text.startswith("answer") for text in every) == 100
    assert 70 < sum(text.startswith("r") for text in every) < 130
    assert found.ledger.read == 250
    splits = found.ledger.splits
    assert splits["training_rows"] + splits["left_out_by_weight"] == 250
    assert splits["left_out_by_weight"] == 200 - sum(text.startswith("r") for text in every)
    assert any("rows are never trained: their source has a weight below 1" in note for note in found.notes)


def test_the_ledger_is_said_also_when_too_much_would_be_dropped(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "a.jsonl"
    write(path, rows_of(10))
    path.write_text(path.read_text() + "{broken\n")
    heard = Recorder()
    config = build_config({"data": {"path": str(path), "workers": 1}})
    with pytest.raises(DataError, match=r"1 of 11 rows .*broken JSON \(\{broken\)"):
        prepare_examples(config, tokenizer, find_task(config.task), sink=heard, cache_dir=tmp_path / "cache")
    ledgers = [fields for kind, fields in heard.events if kind == "ledger"]
    assert len(ledgers) == 1 and ledgers[0]["outcomes"]["dropped"] == 1 and ledgers[0]["closes"]


def test_a_validation_file_has_its_own_ledger(tmp_path: Path, tokenizer: Any) -> None:
    path, held = write(tmp_path / "a.jsonl", rows_of(10)), tmp_path / "held.jsonl"
    write(held, [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(4)])
    held.write_text(held.read_text() + "{broken\n")
    heard = Recorder()
    data = {"path": str(path), "validation": str(held), "max_dropped": 0.5, "workers": 1}
    prepare_examples(
        build_config({"data": data}), tokenizer, find_task("sft"), sink=heard, cache_dir=tmp_path / "cache"
    )
    told = next(fields for kind, fields in heard.events if kind == "ledger")
    assert told["read"] == 10 and told["validation"]["read"] == 5
    assert told["validation"]["outcomes"]["dropped"] == 1


def test_held_out_prompts(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", rows_of(50))
    found = made(tmp_path, tokenizer, str(path), validation=0.2)
    items = make_held_out_prompts(found.validation, 4, found.config, found.tokenizer)
    assert len({item.reference for item in items}) == 4
    for item in items:
        number = item.reference.split()[1].rstrip("!")
        assert tokenizer.decode(item.prompt_ids) == (
            f"<|im_start|>user\nquestion {number}?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert item.prompt_text == f"question {number}?" and str(item.origin).startswith(str(path))
    assert (
        items == make_held_out_prompts(found.validation, 4, found.config, found.tokenizer)
        and make_held_out_prompts(found.validation, 0, found.config, found.tokenizer) == []
    )
    none = made(tmp_path, tokenizer, str(path), validation=None)
    assert make_held_out_prompts(none.validation, 4, none.config, none.tokenizer) == []


def test_a_template_that_never_stops_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    path = write(tmp_path / "a.jsonl", rows_of(20))
    with pytest.raises(PreflightError, match="stop token"):
        made(tmp_path, tokenizer, str(path))


def test_doubled_bos_is_an_error(tmp_path: Path) -> None:
    tokenizer = byte_level(LLAMA3.specials, LLAMA3.bos, LLAMA3.eos)
    tokenizer.chat_template = "{{ bos_token }}" + LLAMA3.template
    with pytest.raises(PreflightError, match="two BOS"):
        made(tmp_path, tokenizer, str(write(tmp_path / "a.jsonl", rows_of(20))))


def test_tasks_take_what_they_can_use(tmp_path: Path, tokenizer: Any) -> None:
    text = tmp_path / "a.txt"
    text.write_text("The quick brown fox\nover the lazy dog\n" * 20, encoding="utf-8")
    with pytest.raises(DataError, match="task=pretraining"):
        made(tmp_path, tokenizer, str(text))
    found = made(tmp_path, tokenizer, str(text), task="pretraining", validation=0.1)
    assert found.ledger.read == 40 and found.train[0].ids[-1] == tokenizer.eos_token_id
    assert make_held_out_prompts(found.validation, 1, found.config, found.tokenizer)[0].reference
    assert made(tmp_path, tokenizer, str(text), format="text").ledger.outcomes["kept"] == 40
    chats = write(tmp_path / "a.jsonl", rows_of(3))
    with pytest.raises(DataError, match="task=sft"):
        made(tmp_path, tokenizer, str(chats), task="pretraining")
    pairs = write(tmp_path / "b.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3)
    with pytest.raises(DataError, match="chosen and rejected"):
        made(tmp_path, tokenizer, str(pairs))
    told = made(tmp_path, tokenizer, str(pairs), columns={"prompt": "prompt", "response": "chosen"})
    assert set(answers(tokenizer, told.train)) == {"b<|im_end|>"}


def test_cancelling_leaves_nothing(tmp_path: Path, tokenizer: Any) -> None:
    path = write(tmp_path / "a.jsonl", rows_of(2000))
    config = build_config({"data": {"path": str(path), "workers": 1}})
    event = threading.Event()
    event.set()
    with pytest.raises(PreparingCancelled):
        prepare_examples(
            config, tokenizer, find_task(config.task), cache_dir=tmp_path / "cache", cancelled=event
        )
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_ledger_and_notes_are_told(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = None
    heard = Recorder()
    config = build_config({"data": {"path": str(write(tmp_path / "a.jsonl", rows_of(20))), "workers": 1}})
    found = prepare_examples(
        config, tokenizer, find_task(config.task), sink=heard, cache_dir=tmp_path / "cache"
    )
    assert any("no chat template" in note for note in found.notes)
    told = dict(heard.events)
    assert told["ledger"]["read"] == 20 and told["ledger"]["closes"]
    assert told["phase"]["done"] == 20
    assert "question 3?" in list(read_training_texts(config))


def test_what_may_be_wrong_is_a_warning(tmp_path: Path, tokenizer: Any) -> None:
    good = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
    rows = [
        {"messages": [*good]},
        {"messages": [good[0], *good]},
        {"messages": [good[1], *good]},
        {"messages": [{"role": "user", "content": "a <|im_end|> b"}, good[1]]},
        {"messages": [*good], "tools": [{"name": "weather"}]},
    ]
    found = made(tmp_path, tokenizer, str(write(tmp_path / "a.jsonl", rows)), validation=None)
    counts = {problem.code: problem.count for problem in found.report.list_warnings}
    assert counts == {"roles_out_of_order": 2, "special_tokens_in_text": 1, "tools_left_out": 1}
    assert not found.report.list_errors and found.ledger.outcomes["kept"] == 5


def test_a_very_long_document_is_tokenised_in_parts_and_whole(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "a.txt"
    words = "The quick brown fox jumps over the lazy dog " * 200
    text.write_text(words, encoding="utf-8")
    whole = made(tmp_path / "1", tokenizer, str(text), task="pretraining", validation=None)
    monkeypatch.setattr(documents, "TEXT_PART", 1000)
    parts = made(tmp_path / "2", tokenizer, str(text), task="pretraining", validation=None)
    ids = [np.concatenate([found.train[i].ids for i in range(len(found.train))]) for found in (whole, parts)]
    assert tokenizer.decode(ids[1]) == words.strip() + "<|im_end|>" or ids[0].tolist() == ids[1].tolist()
    assert whole.ledger.outcomes["split"] == 1 and min(parts.train.lengths) > 1


def test_half_characters_end_in_the_ledger(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(rows_of(3))[:-1] + ', {"prompt": "\\ud83d", "response": "x"}]', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"a\.json"):
        made(tmp_path, tokenizer, str(path))


def test_text_among_chats_is_trained_where_its_source_says_so(tmp_path: Path, tokenizer: Any) -> None:
    chats = write(tmp_path / "a.jsonl", rows_of(5))
    plain = tmp_path / "b.txt"
    plain.write_text("first document\nsecond document\n")
    with pytest.raises(DataError, match="plain text has no answers"):
        made(tmp_path, tokenizer, [str(chats), str(plain)], validation=None)
    found = made(tmp_path, tokenizer, [str(chats), {"path": str(plain), "format": "text"}], validation=None)
    assert len(found.train) == 7
