"""Rows with labels, from files in many layouts to the numbers that a model learns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Recorder, write_jsonl
from tests.core.tasks.classifiers import word_tokenizer
from tui_tuner.config.load import build_config
from tui_tuner.data.examples.prepare import PreparedRows, prepare_examples
from tui_tuner.data.examples.token_types import COLUMN, unpack_types
from tui_tuner.data.formats.recognise import recognise_format
from tui_tuner.data.labels.names import name_class, parse_label_number, sort_classes, split_labels
from tui_tuner.data.labels.problem import LabelTally, decide_problem
from tui_tuner.errors import ConfigError, DataError, PreflightError, RowsError
from tui_tuner.tasks import find_task

TASK = find_task("classification")
Read = Callable[..., PreparedRows]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The prepared rows of a file or of these rows; more settings are of `data`."""

    def make(rows: Any, training: dict[str, Any] | None = None, **data: Any) -> PreparedRows:
        path = str(write_jsonl(tmp_path / "rows.jsonl", rows) if isinstance(rows, list) else rows)
        values = {"path": path, "validation": 0, "max_length": 32, "workers": 1, "max_dropped": 0.5, **data}
        config = build_config({"task": "classification", "data": values, "training": training or {}})
        make.sink = Recorder()  # type: ignore[attr-defined]
        return prepare_examples(config, word_tokenizer(), TASK, sink=make.sink, cache_dir=tmp_path / "cache")  # type: ignore[attr-defined]

    return make


def targets(prepared: PreparedRows) -> list[Any]:
    found: list[Any] = prepared.train.columns["target"].tolist()
    return found


def names(prepared: PreparedRows) -> list[str]:
    values = TASK.model_values(prepared.config, prepared.learned)
    return list(values["id2label"].values())


def rows_of(*labels: Any, **more: Any) -> list[dict[str, Any]]:
    return [
        {"text": f"word{number % 50} word1", "label": label, **more} for number, label in enumerate(labels)
    ]


# ---- names and problems ------------------------------------------------------------------------------------


def test_a_class_has_one_name_whatever_its_type() -> None:
    for value in (1, 1.0, "1", "1.0", " 1 "):
        assert name_class(value) == "1"
    assert [name_class(one) for one in (True, "a b", "007", "1.5", -2.0)] == [
        "True",
        "a b",
        "007",
        "1.5",
        "-2",
    ]
    assert (
        parse_label_number(True) is None
        and parse_label_number("nan") is None
        and parse_label_number("1e3") == 1000.0
    )
    assert parse_label_number(10**400) is None and parse_label_number("3,8") is None
    assert sort_classes(["10", "9", "-1"]) == ["-1", "9", "10"] and sort_classes(["b", "10", "9"]) == [
        "10",
        "9",
        "b",
    ]
    assert split_labels("a; b;", ";") == ["a", "b"] and split_labels("a; b", None) == ["a; b"]


@pytest.mark.parametrize(
    ("tally", "problem"),
    [
        (LabelTally({"a": 5, "b": 5}, rows=10, texts=10), "single"),
        (LabelTally({"0": 5, "1": 5}, rows=10), "single"),
        (LabelTally({"0": 5, "0.5": 5}, rows=10, fractions=5), "regression"),
        (LabelTally({"0": 500, "1": 499, "0.5": 1}, rows=1000, fractions=1), "single"),
        (LabelTally({str(one): 1 for one in range(90)}, rows=100), "regression"),
        (LabelTally({str(one): 10 for one in range(90)}, rows=900), "single"),
        (LabelTally({"a": 8, "b": 5}, rows=10, texts=10, lists=10, several=3), "multi"),
        (LabelTally({"a": 5, "b": 5}, rows=10, texts=10, lists=10), "single"),
        (LabelTally({}, rows=10, fractions=10), "regression"),
    ],
)
def test_the_labels_settle_the_problem(tally: LabelTally, problem: str) -> None:
    assert decide_problem("auto", tally)[0] == problem
    assert decide_problem("multi", tally)[0] == "multi"


# ---- layouts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["good", "bad", "good"], ["bad", "good"]),
        ([True, False, True], ["False", "True"]),
        ([2.0, 10.0, 2.0], ["2", "10"]),
        ([5, 4, 5], ["4", "5"]),
    ],
)
def test_one_class_of_any_type(read: Read, labels: list[Any], wanted: list[str]) -> None:
    prepared = read(rows_of(*labels * 10))
    assert names(prepared) == wanted
    assert targets(prepared) == [wanted.index(name_class(label)) for label in labels * 10]


def test_lists_of_classes(read: Read, tmp_path: Path) -> None:
    """As JSON has them, and as tables write them: JSON again, or Python's way."""
    several = [["b", "a"], ["a"], [], ["c"]]
    wanted = [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]
    prepared = read(rows_of(*several * 5))
    assert names(prepared) == ["a", "b", "c"] and targets(prepared) == wanted * 5
    for write in (json.dumps, repr):
        path = tmp_path / f"{write.__name__}.csv"
        with open(path, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "labels"])
            table.writerows([f"word{number} word1", write(one)] for number, one in enumerate(several * 5))
        prepared = read(path)
        assert names(prepared) == ["a", "b", "c"] and targets(prepared) == wanted * 5


def test_what_stands_between_classes_is_only_followed_where_it_is_told(read: Read) -> None:
    rows = rows_of(*["a;b", "b", "a"] * 5)
    assert names(read(rows)) == ["a", "a;b", "b"]
    prepared = read(rows, label_separator=";")
    assert names(prepared) == ["a", "b"] and targets(prepared)[:3] == [[1, 1], [0, 1], [1, 0]]


def test_a_column_of_0_and_1_for_each_class(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "flags.csv"
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "comment_text", "toxic", "rude", "threat"])
        table.writerows(
            [f"n{one}", f"word{one} word2", one % 2, int(one % 3 == 0), int(one == 4)] for one in range(12)
        )
        table.writerow(["n99", "word9", "", "", ""])
        table.writerow(["n98", "word9", "7", "0", "0"])
    prepared = read(path, format="text_label", columns={"text": "comment_text", "label": "toxic, rude"})
    assert names(prepared) == ["rude", "toxic"] and targets(prepared)[:3] == [[1, 0], [0, 1], [0, 0]]
    reasons = {one.reason: one.count for one in prepared.ledger.list_reasons("dropped")}
    assert reasons == {"the label is missing": 1, "a column of a class holds something other than 0 and 1": 1}
    rows = [{"id": "x", "comment_text": "some words", "toxic": 0, "rude": 1, "threat": 0}] * 3
    assert recognise_format(rows).format == "text_label"
    assert recognise_format([{"text": "a", "seen": 1, "kept": 0}] * 3).format == "text", (
        "which may mean anything"
    )


def test_pairs_are_called_as_the_model_wants_them(read: Read) -> None:
    rows = [{"premise": f"word{one} word2", "hypothesis": "word3", "label": one % 2} for one in range(6)]
    example = read(rows).train[0]
    assert example.ids.tolist() == [2, 5, 7, 3, 8, 3]
    assert unpack_types(example.columns[COLUMN], 6).tolist() == [0, 0, 0, 0, 1, 1]
    rows = [{"sentence1": "word1", "sentence2": "word2", "gold_label": one} for one in ("yes", "no", "-") * 4]
    prepared = read(rows)
    assert names(prepared) == ["no", "yes"] and prepared.ledger.outcomes["dropped"] == 4
    rows = [{"question": "word1", "sentence": "word2", "label": one % 2} for one in range(4)]
    assert recognise_format(rows).format == "sentence_pair"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """The film reviews of IMDB as they are unpacked, with fewer of them."""
    root = tmp_path / "aclImdb"
    for part, kind in (
        ("train", "pos"),
        ("train", "neg"),
        ("train", "unsup"),
        ("test", "pos"),
        ("test", "neg"),
    ):
        folder = root / part / kind
        folder.mkdir(parents=True)
        for number in range(6):
            (folder / f"{number}_8.txt").write_text(
                f"word{number} {kind}<br /><br />word1\nword2", encoding="utf-8"
            )
    (root / "train" / "urls_pos.txt").write_text("http://example\n")
    (root / "imdb.vocab").write_text("the\n")
    (root / "README").write_text("Large Movie Review Dataset")
    return root


def test_folders_are_classes(read: Read, films: Path) -> None:
    for path in (films, films / "train"):
        prepared = read(path, limit=4, validation=str(films / "test"))
        assert names(prepared) == ["neg", "pos"]
        assert targets(prepared) == [0, 1, 0, 1], "the first rows have every class"
        assert any("unsup" in note and "6 texts" in note for note in prepared.notes)
        assert prepared.validation is not None and len(prepared.validation) == 12
    record = prepared.train.store.read_record(0)
    assert record["text"] == "word0 neg<br /><br />word1\nword2" and record["label"] == "neg"
    assert str(prepared.train.example_origin(0)).startswith(str(films / "train" / "neg" / "0_8.txt"))


def test_what_is_said_of_a_folder_is_of_the_one_that_was_named(read: Read, films: Path) -> None:
    whole = read(films)
    part = read(films / "train")
    assert len(part.train) == len(whole.train) and any("data.validation" in note for note in whole.notes)
    assert not any("data.validation" in note for note in part.notes), (
        "the rows are the same, not what is said"
    )


def test_folders_of_other_names_are_classes_where_that_is_told(read: Read, tmp_path: Path) -> None:
    for name in ("sport", "stage"):
        (tmp_path / "news" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "news" / name / f"{number}.txt").write_text(f"word{number} {name}")
    assert names(read(tmp_path / "news", format="text_label")) == ["sport", "stage"]
    with pytest.raises(DataError):
        read(tmp_path / "news")


# ---- what is wrong -----------------------------------------------------------------------------------------


def test_rows_without_a_label_are_counted_by_file_and_row(read: Read) -> None:
    prepared = read(rows_of("a", "b", None, "a", "", float("nan"), "b"))
    (reason,) = prepared.ledger.list_reasons("dropped")
    assert (reason.reason, reason.count) == ("the label is missing", 3)
    assert [sample["line"] for sample in reason.samples] == [3, 5, 6]


@pytest.mark.parametrize(
    ("problem", "label", "reason"),
    [
        ("single", 0.5, "the label is a number with a fraction, not a class"),
        ("single", ["a", "b"], "the row has a list of classes, not one class"),
        ("regression", "often", "the label is not a number"),
        ("multi", 0.5, "the label is a number with a fraction, not a class"),
    ],
)
def test_a_label_of_another_kind_is_counted_where_the_kind_is_told(
    read: Read, problem: str, label: Any, reason: str
) -> None:
    prepared = read(rows_of(0, 1, 1, label, 0, 1), problem=problem)
    (found,) = prepared.ledger.list_reasons("dropped")
    assert (found.reason, found.count, found.samples[0]["line"]) == (reason, 1, 4)
    assert len(prepared.train) == 5


@pytest.mark.parametrize(
    ("labels", "code", "line"),
    [
        (["a"] * 30, "one_class", 1),
        ([0, 1] * 30 + [0.5], "label_fraction", 61),
        ([f"some words {one}" for one in range(40)], "labels_differ", 1),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(
    read: Read, labels: list[Any], code: str, line: int
) -> None:
    with pytest.raises(PreflightError) as error:
        read(rows_of(*labels))
    assert error.value.where.endswith(f"rows.jsonl:{line}")
    assert code in [fields["code"] for fields in read.sink.of("warning")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["a"] * 50 + ["b"] * 3, "few_rows_of_class"),
        (["a"] * 90 + ["b"] * 9, "unequal_classes"),
        ([0, 1, 2] * 10 + [-1], "label_minus_one"),
        ([True, "true", "False", False] * 10, "classes_alike"),
        (["Pos", "pos", "neg"] * 10, "classes_alike"),
    ],
)
def test_doubtful_labels_are_said(read: Read, labels: list[Any], code: str) -> None:
    assert code in [problem.code for problem in read(rows_of(*labels)).report.list_warnings]


def test_a_label_under_another_name_is_asked_for(read: Read) -> None:
    rows = [{"text": f"I feel so, number {one}", "mood": ("happy", "sad")[one % 2]} for one in range(30)]
    with pytest.raises(
        RowsError, match=r"no column is recognised as the label.*next to text there are: mood\."
    ) as error:
        read(rows)
    assert "data.columns={text: text, label: mood}" in error.value.hint
    assert error.value.where.endswith("rows.jsonl:1") and error.value.field == "data.columns"
    assert names(read(rows, columns={"text": "text", "label": "mood"})) == ["happy", "sad"]


def test_a_class_of_held_out_rows_alone_is_refused_with_its_place(read: Read, tmp_path: Path) -> None:
    held = write_jsonl(tmp_path / "held.jsonl", rows_of("a", "b", "what?"))
    for rows in (rows_of(*"ab" * 10), rows_of(*[["a"], ["a", "b"]] * 10)):
        with pytest.raises(DataError) as error:
            read(rows, validation=str(held))
        assert error.value.where.endswith("held.jsonl:3") and "what?" in str(error.value)
        assert error.value.field == "data.validation" and "a, b" in (error.value.hint or "")
    with pytest.raises(DataError) as error:
        read(rows_of(*[0.5, 1.5] * 10), validation=str(held))
    assert error.value.where.endswith("held.jsonl:1")


def test_weights_of_classes_that_are_not_there_are_refused(read: Read) -> None:
    with pytest.raises(ConfigError) as error:
        read(rows_of(*"ab" * 10), training={"class_weights": {"c": 2.0}})
    assert error.value.where == "training.class_weights" and "a, b" in (error.value.hint or "")


def test_what_is_too_long_is_cut_and_counted_or_dropped(read: Read) -> None:
    rows = [{"text": "word1 " * 50, "label": one % 2} for one in range(4)] + rows_of(0, 1)
    prepared = read(rows)
    (reason,) = prepared.ledger.list_reasons("truncated")
    assert reason.count == 4 and max(prepared.train.lengths) == 32
    assert prepared.train[0].ids[-1] == 3, "the separator stays"
    assert any("not split" in note for note in prepared.notes)
    dropped = read(rows, overlong="drop", max_dropped=0.9).ledger
    assert dropped.outcomes["dropped"] == 4
    pairs = [{"sentence1": "word1 " * 60, "sentence2": "word2 word3", "label": one % 2} for one in range(4)]
    example = read(pairs).train[0]
    assert example.ids.tolist()[-4:] == [3, 7, 8, 3], "the longer text gives way"


def test_numbers_are_held_out_as_told_though_each_is_its_own(read: Read) -> None:
    prepared = read(rows_of(*[one + 0.5 for one in range(40)]), validation=0.25)
    assert prepared.validation is not None and len(prepared.validation) == 10
