"""What the guide says of data: figures from files of every kind, and a concern only where there is one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.values import edit_values
from tui_tuner.guiding.data_look import DataLook, describe_look, look_at_data
from tui_tuner.tasks import find_task

WORDS = [a + b + c for a in "bdfgklmn" for b in "aeiou" for c in "bdfgklmnprst"]


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    with open(path, "w", encoding="utf-8", newline="") as file:
        written = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        written.writeheader()
        written.writerows(rows)
    return str(path)


def chats(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"Say {word}.", "response": f"It is {word}."} for word in WORDS[:count]]


def texts(**of_class: int) -> list[dict[str, str]]:
    words = iter(WORDS)
    return [
        {"text": f"They say {next(words)} to it.", "label": label}
        for label, count in of_class.items()
        for _unused in range(count)
    ]


def codes(look: DataLook) -> set[str]:
    return {concern.code for concern in look.concerns}


def one(look: DataLook, code: str) -> Any:
    return next(concern for concern in look.concerns if concern.code == code)


def test_good_rows_give_figures_and_no_concern(tmp_path: Path) -> None:
    look = look_at_data(lines(tmp_path / "a.jsonl", chats(60)), "sft", more={"model.name": "demo"})
    assert (look.rows, look.read, look.usable, look.whole) == (60, 60, 60, True)
    assert look.columns == {"prompt": "prompt", "response": "response"}
    assert look.suits == ("sft",) and look.can_train and not look.concerns
    assert look.characters is not None and look.characters.mean == 18
    assert look.tokens is not None and look.total_tokens == look.tokens.total > 60
    assert look.first[0] == ("user: Say bab.", "assistant: It is bab.")
    json.dumps(look.list_values())


def test_tokens_are_told_as_such_only_where_the_tokenizer_is_here(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", chats(60))
    here = look_at_data(path, "sft", more={"model.name": "demo"})
    away = look_at_data(path, "sft", more={"model.name": "nobody/nothing-here"})
    assert any("tokens per row" in line for line in describe_look(here))
    assert away.tokens is None and away.total_tokens is None
    assert any("characters per row" in line for line in describe_look(away))


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "zip", "gz"])
def test_the_same_rows_are_the_same_in_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    rows = texts(good=60, bad=60)
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        lines(path, rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind in ("csv", "tsv"):
        table(path, rows, "," if kind == "csv" else "\t")
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "arrow":
        import pyarrow as pa

        made = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, made.schema) as writer:
            writer.write_table(made)
    elif kind == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as packed:
            packed.write(lines(tmp_path / "inside.jsonl", rows), "inside.jsonl")
    else:
        import gzip

        path = tmp_path / "rows.jsonl.gz"
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    look = look_at_data(str(path))
    assert (look.task, look.problem, look.rows) == ("classification", "single", 120)
    assert look.labels == {"good": 60, "bad": 60}
    assert not look.concerns


def test_every_goals_own_shape_is_recognised_and_counted(tmp_path: Path) -> None:
    (tmp_path / "t.conll").write_text("".join("Ada B-PER\nsaw O\nLima B-LOC\n\n" for _unused in range(60)))
    tags = look_at_data(str(tmp_path / "t.conll"))
    assert tags.task == "token_classification" and tags.tags == {"PER": 60, "LOC": 60}
    context = "It opens at nine."
    rows = [
        {"question": f"When, {w}?", "context": context, "answers": {"text": ["nine"], "answer_start": [12]}}
        for w in WORDS[:130]
    ]
    asked = look_at_data(lines(tmp_path / "q.jsonl", rows))
    assert asked.task == "question_answering" and not asked.concerns
    (tmp_path / "plain.txt").write_text("\n\n".join("All about threads. " * 300 for _unused in range(40)))
    plain = look_at_data(str(tmp_path / "plain.txt"))
    assert plain.task == "pretraining" and plain.can_train


def test_rows_for_another_goal_say_which_and_how(tmp_path: Path) -> None:
    look = look_at_data(table(tmp_path / "a.csv", texts(good=60, bad=60)), "sft")
    concern = one(look, "wrong_shape")
    assert concern.stops and not look.can_train
    values = [values for _words, values in concern.fixes]
    assert {"task": "classification"} in values
    for fix in values:  # each is a way that works
        more = {name: value for name, value in fix.items() if name != "task"}
        again = look_at_data(str(tmp_path / "a.csv"), fix["task"], more=more)
        assert again.can_train and again.usable == 120


def test_plain_texts_can_be_marked_here(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One day.\n\nAnother day.\n")
    look = look_at_data(str(tmp_path / "a.txt"), "classification")
    assert ("Mark these texts here", {}) in one(look, "wrong_shape").fixes and look.to_mark == 2
    chats_of = look_at_data(lines(tmp_path / "a.jsonl", chats(60)), "classification")
    assert chats_of.to_mark == 0 and ("Mark these texts here", {}) not in one(chats_of, "wrong_shape").fixes


def test_columns_that_nobody_knows_are_asked_for_and_can_be_named(tmp_path: Path) -> None:
    rows = [{"frage": f"Was ist {w}?", "antwort": f"Es ist ein {w}."} for w in WORDS[:60]]
    path = lines(tmp_path / "a.jsonl", rows)
    concern = one(look_at_data(path, "sft"), "name_columns")
    assert concern.stops and "frage" in concern.message
    values = concern.fixes[0][1]
    assert set(values["data.columns"]) == {"prompt", "response"}
    told = look_at_data(path, "sft", {"prompt": "frage", "response": "antwort"})
    assert told.can_train and told.usable == 60
    assert look_at_data(path, "sft", more=values).can_train


@pytest.mark.parametrize(
    ("name", "content"), [("gone.jsonl", None), ("empty.jsonl", b""), ("odd.jsonl", b"\x00\xff\xfe\x01" * 40)]
)
def test_what_cannot_be_read_is_said_and_not_raised(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    look = look_at_data(str(path), "sft")
    assert not look.can_train and name in look.concerns[0].message


def test_broken_rows_that_a_run_would_stop_at_are_counted_by_reason(tmp_path: Path) -> None:
    rows: list[Any] = [*chats(60), {"prompt": "", "response": "x"}, {"prompt": "only"}]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"prompt": "cut of\n'
    )
    look = look_at_data(str(tmp_path / "a.jsonl"), "sft")
    concern = one(look, "refused_rows")
    assert (look.read, look.usable, sum(look.refused.values())) == (63, 60, 3)
    assert concern.stops and "3 of 63 rows (4.8%)" in concern.message
    again = look_at_data(str(tmp_path / "a.jsonl"), "sft", more=concern.fixes[0][1])
    assert again.can_train


@pytest.mark.parametrize(("rows", "said"), [(9, True), (49, True), (50, False), (400, False)])
def test_few_rows(rows: int, said: bool, tmp_path: Path) -> None:
    look = look_at_data(lines(tmp_path / "a.jsonl", chats(rows)), "sft")
    assert ("few_rows" in codes(look)) == said
    assert look.can_train
    if said:
        assert f"{rows} different examples" in one(look, "few_rows").message
        assert "OpenAI" in one(look, "few_rows").message


def test_copies_are_not_more_rows(tmp_path: Path) -> None:
    look = look_at_data(lines(tmp_path / "a.jsonl", chats(20) * 10), "sft")
    assert look.duplicates == 180
    assert "20 different examples" in one(look, "few_rows").message
    assert "180 of 200 rows (90%)" in one(look, "duplicates").message
    assert one(look, "duplicates").fixes[0][1] == {"data.cleaning.exact_duplicates": True}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 60, "b": 60}, set()),
        ({"a": 30, "b": 30}, {"few_rows"}),
        ({"a": 60, "b": 60, "c": 4}, {"few_in_class"}),
        ({"a": 60}, {"one_class"}),
        ({"a": 185, "b": 12}, {"few_rows", "mostly_one_label"}),
    ],
)
def test_classes_are_counted_each(counts: dict[str, int], expected: set[str], tmp_path: Path) -> None:
    look = look_at_data(lines(tmp_path / "a.jsonl", texts(**counts)), "classification")
    assert codes(look) == expected
    assert look.can_train == ("one_class" not in expected)
    for concern in look.concerns:
        for _words, fix in concern.fixes:
            edit_values(build_config({"task": "classification"}), fix)  # raises where it is no field
    if "mostly_one_label" in expected:
        best = one(look, "mostly_one_label").fixes[1][1]["evaluation.best"]
        assert best in {metric.name for metric in find_task("classification").metrics}


@pytest.mark.parametrize("label", [None, ""])
def test_rows_without_a_label_are_not_of_a_class(label: Any, tmp_path: Path) -> None:
    rows = [*texts(good=60, bad=60), {"text": "Nobody knows.", "label": label}]
    look = look_at_data(lines(tmp_path / "a.jsonl", rows), "classification")
    assert (look.usable, look.labels) == (120, {"good": 60, "bad": 60})
    assert sum(look.refused.values()) == look.to_mark == 1


def test_several_classes_at_once_need_no_other_class(tmp_path: Path) -> None:
    rows = [{"text": f"Of {w}.", "labels": ["red"] if n % 3 else []} for n, w in enumerate(WORDS[:150])]
    look = look_at_data(lines(tmp_path / "a.jsonl", rows))
    assert look.problem == "multi" and not look.concerns


def test_labels_that_are_answers_are_no_classes(tmp_path: Path) -> None:
    rows = [{"text": f"What of {w}?", "label": f"the {w} of all"} for w in WORDS[:60]]
    assert "own_labels" in codes(look_at_data(lines(tmp_path / "a.jsonl", rows), "classification"))


def test_numbers_are_no_classes(tmp_path: Path) -> None:
    rows = [{"text": f"What of {w}?", "label": place / 7} for place, w in enumerate(WORDS[:60])]
    look = look_at_data(lines(tmp_path / "a.jsonl", rows), "classification")
    assert look.problem == "regression" and not look.concerns


def test_rows_that_contradict_each_other(tmp_path: Path) -> None:
    rows = texts(good=60, bad=60)
    rows += [{**row, "label": "bad"} for row in rows[:5]]
    look = look_at_data(lines(tmp_path / "a.jsonl", rows), "classification")
    assert look.contradictions == 5 and look.duplicates == 0
    assert "5 of 125 rows" in one(look, "contradictions").message


NOISE: dict[str, tuple[str, str]] = {
    "refusals": ("As an AI language model I do not know {}.", "It is {}."),
    "encoding": ("A clichÃ©d word, itâ€™s {}.", "A clichéd word, it’s «{}» in São Tomé, NÃO."),
    "html": ("It is<br /><br />{}&nbsp;now.", "If a < b and c > d, then {} & more."),
    "personal_data": ("Write to {}@example.org.", "Write @ {} or to 12@."),
    "cut_off": ("{} and so on, " * 12 + "as", "{} and so on, " * 12 + "as it is."),
}


@pytest.mark.parametrize("code", NOISE)
def test_noise_is_found_and_what_only_looks_like_it_is_not(code: str, tmp_path: Path) -> None:
    noisy, clean = NOISE[code]

    def rows(answer: str, places: int) -> list[dict[str, str]]:
        made = chats(100)
        for number, word in enumerate(WORDS[:places]):
            made[number]["response"] = answer.format(*[word] * answer.count("{}"))
        return made

    assert code in codes(look_at_data(lines(tmp_path / "noisy.jsonl", rows(noisy, 20)), "sft"))
    assert look_at_data(lines(tmp_path / "clean.jsonl", rows(clean, 20)), "sft").concerns == ()
    if code != "cut_off":
        assert code not in codes(look_at_data(lines(tmp_path / "one.jsonl", rows(noisy, 1)), "sft"))


def test_ways_out_are_fields_of_a_config_and_help(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Say {w}", "response": f"As an AI language model I say<br>{w}."} for w in WORDS[:100]
    ] + chats(100)
    path = lines(tmp_path / "a.jsonl", rows)
    values = {
        name: value
        for concern in look_at_data(path, "sft").concerns
        for _words, fix in concern.fixes
        for name, value in fix.items()
    }
    assert values == {"data.cleaning.refusals": True, "data.cleaning.html": "text"}
    build_config({"data": {"cleaning": {"refusals": True, "html": "text"}}})


def test_rows_longer_than_is_read_name_what_would_be_enough(tmp_path: Path) -> None:
    rows = [{"text": "word " * 700 + w, "label": "ab"[n % 2]} for n, w in enumerate(WORDS[:120])]
    path = lines(tmp_path / "a.jsonl", rows)
    more = {"model.name": "demo", "data.max_length": 512}
    concern = one(look_at_data(path, "classification", more=more), "too_long")
    enough = concern.fixes[0][1]["data.max_length"]
    assert enough > 700
    assert "too_long" not in codes(
        look_at_data(path, "classification", more={**more, "data.max_length": enough})
    )


def test_held_out_rows_that_are_trained_on_are_found(tmp_path: Path) -> None:
    train, held = lines(tmp_path / "a.jsonl", chats(60)), tmp_path / "held.jsonl"
    lines(held, chats(62)[-10:])
    concern = one(look_at_data(train, "sft", more={"data.validation": str(held)}), "held_out_copies")
    assert "8 of 10" in concern.message and concern.stops
    lines(held, chats(80)[-10:])
    assert not look_at_data(train, "sft", more={"data.validation": str(held)}).concerns


def test_a_look_ends_when_nobody_waits_and_says_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": f"n {n}", "response": "ok."} for n in range(5000)])
    heard: list[int] = []
    look = look_at_data(path, "sft", stop=lambda: len(heard) > 1, said=heard.append)
    assert heard == [256, 512] and not look.whole and look.read < 5000
    assert look.rows == 5000 and "5,000 lines" in look.basis
    short = look_at_data(path, "sft", seconds=0.0)
    assert not short.whole and "few_rows" not in codes(short)


def test_what_a_file_says_cannot_steer_a_terminal(tmp_path: Path) -> None:
    rows = [{"text": f"\x1b[2J{w}", "label": f"\x1b]0;x\x07{n % 2}"} for n, w in enumerate(WORDS[:30])]
    look = look_at_data(lines(tmp_path / "a.jsonl", rows), "classification")
    shown = [*describe_look(look), *(line for row in look.first for line in row)]
    shown += [concern.message for concern in look.concerns]
    assert look.concerns and "\x1b" not in "".join(shown)
