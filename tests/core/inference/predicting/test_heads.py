"""Every head predicts in batches what it says when it is asked alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from tests.conftest import write_jsonl
from tests.core.inference.predicting.models import job, origin_of, read, train_head
from tests.core.tasks.classifiers import WORDS, word_tokenizer
from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.evaluation import padded_logits
from tui_tuner.evaluation.padded_logits import compute_padded_logits
from tui_tuner.inference.asking import ask_loaded_model
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.engine import predict_file
from tui_tuner.runs.store import RunFolder
from tui_tuner.training.load_run import load_run

SENTENCES = [
    "Mia Weston has worked as a baker for many years in Eastmoor.",
    "It rained.",
    "On Sunday the people of Ravenna saw Bella Okafor, and the music was simply dreadful. " * 6,
    "The story is clever and wonderful. The whole room applauded.",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def classes(root: Path) -> RunFolder:
    return train_head("classification", root)


def predicted(folder: RunFolder, rows: list[dict[str, Any]], path: Path, **more: Any) -> list[Any]:
    found = predict_file(job(origin_of(folder), write_jsonl(path, rows), **more))
    written = read(found.path)
    assert [{name: row[name] for name in rows[0]} for row in written] == rows  # in order, and as they were
    return [row["prediction"] for row in written]


def test_classes_have_the_probabilities_of_one_text_alone(classes: RunFolder, tmp_path: Path) -> None:
    rows = [{"text": text, "n": [n, {"é": None}]} for n, text in enumerate(SENTENCES * 3)]
    found = predicted(classes, rows, tmp_path / "rows.jsonl", batch_size=5)
    loaded = load_run(classes, "best", "cpu")
    for row, said in zip(rows, found, strict=True):
        shown = ask_loaded_model(loaded, row["text"])
        assert said["label"] == shown.text
        assert set(said["probabilities"]) == {"negative", "positive"}
        for name, share in shown.scores:
            assert said["probabilities"][name] == pytest.approx(share, abs=1e-5)


def test_tags_are_those_of_one_text_alone(root: Path, tmp_path: Path) -> None:
    folder = train_head("token_classification", root, training={"max_steps": 1, "learning_rate": 1e-6})
    rows = [{"text": text} for text in SENTENCES]
    found = predicted(folder, rows, tmp_path / "texts.jsonl")
    loaded = load_run(folder, "best", "cpu")
    for row, said in zip(rows, found, strict=True):
        shown = ask_loaded_model(loaded, row["text"])
        assert [(one["start"], one["end"], one["label"]) for one in said] == [
            (one.start, one.end, one.label) for one in shown.found
        ]
        assert [one["score"] for one in said] == pytest.approx([one.score for one in shown.found], abs=1e-5)
    assert sum(map(len, found)) > 3  # there is something to compare
    words = [{"tokens": text.split()} for text in SENTENCES]
    joined = predicted(folder, words, tmp_path / "words.jsonl", batch_size=1)
    assert sum(map(len, joined)) > 3
    for row, said in zip(words, joined, strict=True):
        text = " ".join(row["tokens"])
        for one in said:  # whole words of the joined text
            assert text[one["start"] : one["end"]].split() == [
                word for word in text[one["start"] : one["end"]].split(" ") if word in row["tokens"]
            ]


def test_answers_are_those_of_one_question_alone(root: Path, tmp_path: Path) -> None:
    folder = train_head("question_answering", root)
    rows = [{"question": "Who is the baker?", "context": text, "id": n} for n, text in enumerate(SENTENCES)]
    rows.append({"question": "What " * 80, "context": "Mia.", "id": 9})
    found = predicted(folder, rows, tmp_path / "questions.jsonl")
    loaded = load_run(folder, "best", "cpu")
    for row, said in zip(rows[:-1], found[:-1], strict=True):
        shown = ask_loaded_model(loaded, str(row["context"]), str(row["question"]))
        assert (said["answer"] or "") == shown.scores[0][0]
        assert said["score"] == pytest.approx(shown.scores[0][1], abs=1e-5)
        assert said["start"] == (shown.found[0].start if shown.found else None)
        if said["answer"]:
            assert str(row["context"])[said["start"] :].startswith(said["answer"])
    config = folder.path / "config.resolved.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"(?m)^( *null_threshold:).*$", r"\1 -1000.0", text))
    none = predicted(folder, rows[:1], tmp_path / "none.jsonl")[0]
    config.write_text(text)
    assert none["answer"] is none["start"] is None and 0 <= none["score"] <= 1
    assert found[-1] is None and "no room" in read(tmp_path / "questions.out.jsonl")[-1]["problem"]


def bert(folder: Path, **settings: Any) -> Any:
    """A BERT with a context of 40 and random weights, as somebody else saved it."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=80, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, initializer_range=0.5, **settings,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return model


def logits_of(model: Any, folder: Path, text: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer(text, truncation=True, max_length=40, return_tensors="pt")).logits[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"id2label": {0: "x", 1: "y", 2: "z"}},
        {"id2label": {0: "x", 1: "y", 2: "z"}, "problem_type": "multi_label_classification"},
        {"num_labels": 1},
    ],
)
def test_a_model_that_no_run_of_ours_made(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Texts are cut to its context. The oracle is transformers alone."""
    model = bert(tmp_path / "bert", **settings)
    rows = [{"text": " ".join(WORDS[n : n + length])} for n, length in enumerate((3, 50, 20, 7, 1))]
    origin = Origin("model", "bert", str(tmp_path / "bert"), task="classification")
    predict_file(job(origin, write_jsonl(tmp_path / "rows.jsonl", rows)))
    for row in read(tmp_path / "rows.out.jsonl"):
        logits, said = logits_of(model, tmp_path / "bert", row["text"]), row["prediction"]
        if "num_labels" in settings:
            assert said == {"value": pytest.approx(logits.item(), abs=1e-5)}
            continue
        several = "problem_type" in settings
        shares = (logits.sigmoid() if several else logits.softmax(-1)).tolist()
        assert list(said["probabilities"].values()) == pytest.approx(shares, abs=1e-5)
        if several:
            assert set(said["labels"]) == {"xyz"[n] for n, share in enumerate(shares) if share > 0.5}
        else:
            assert said["label"] == "xyz"[int(np.argmax(shares))]


def test_where_padding_changes_what_a_model_says_only_equal_lengths_go_together() -> None:
    """XLNet's head reads the last place of a text, which behind a short one is padding."""
    from transformers import XLNetConfig, XLNetForSequenceClassification

    torch.manual_seed(0)
    config = XLNetConfig(vocab_size=40, d_model=16, n_layer=2, n_head=2, d_inner=32, initializer_range=0.4)
    model = XLNetForSequenceClassification(config).eval()
    lengths = (4, 9, 9, 2, 4)
    rows = [torch.randint(6, 40, (length,)).numpy().astype("int32") for length in lengths]
    examples = [Example(ids, np.full(len(ids), IGNORE, dtype=np.int32), {"token_types": 0}) for ids in rows]
    found = compute_padded_logits(model, CheckRows(examples), 5, 8)
    for ids, logits in zip(rows, found, strict=True):
        with torch.no_grad():
            alone = model(torch.tensor(ids[None].astype("int64"))).logits[0]
        assert logits == pytest.approx(alone.double().numpy(), abs=1e-5)
    assert model.__dict__[padded_logits._CHECKED] is False


def test_memory_that_runs_out_halves_the_batch(
    classes: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds 3 rows at once: everything is predicted all the same, and it is said."""
    plain = padded_logits._compute_logits

    def small(model: Any, rows: CheckRows, group: Any, *more: Any) -> Any:
        if len(group) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return plain(model, rows, group, *more)

    monkeypatch.setattr(padded_logits, "_compute_logits", small)
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in SENTENCES * 5])
    found = predict_file(job(origin_of(classes), path, batch_size=8))
    assert found.counts.rows == 20 and not found.counts.unused
    assert [note for note in found.notes if "4 rows" in note] and [
        note for note in found.notes if "2 rows" in note
    ]


def test_lines_of_the_output_are_json_of_any_values(classes: RunFolder, tmp_path: Path) -> None:
    """Dates, bytes, numbers without an end, and rows that cannot be used."""
    pa = pytest.importorskip("pyarrow")
    import datetime

    import pyarrow.parquet as pq

    table = {
        "text": ["Fine.", None, ""],
        "day": [datetime.date(2024, 5, 6)] * 3,
        "blob": ["é".encode()] * 3,
        "picture": [b"\x00\xff"] * 3,  # which no reader of rows takes in
        "number": [float("nan"), float("inf"), 1.5],
        "deep": [[{"a": [1]}]] * 3,
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    found = predict_file(job(origin_of(classes), tmp_path / "rows.parquet"))
    rows = read(found.path)
    assert [row["deep"] for row in rows] == [[{"a": [1]}]] * 3 and rows[2]["number"] == 1.5
    assert [(row["day"], row["blob"]) for row in rows] == [("2024-05-06", "é")] * 3
    assert rows[0]["prediction"]["label"] and rows[1]["prediction"] is rows[2]["prediction"] is None
    assert "missing" in rows[1]["problem"] and "empty" in rows[2]["problem"]
    assert found.counts.unused == 2 and sum(found.counts.problems.values()) == 2
