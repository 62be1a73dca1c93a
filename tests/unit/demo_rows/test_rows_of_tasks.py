"""Rows of the demo for each task: the same everywhere, varied, and of the shape that their formats have."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tui_tuner import demo
from tui_tuner.config.schema import DataSection
from tui_tuner.data.read_data import DataReading
from tui_tuner.demo.tagged_sentences import FAMILIES

MADE: dict[str, Any] = {
    "demo-reviews": demo.review_rows,
    "demo-tags": demo.tag_rows,
    "demo-questions": demo.question_rows,
    "demo-summaries": demo.summary_rows,
}
# Of all rows as JSON. A change here is a change of what `tiny` learns: try the presets anew.
DIGESTS = {
    "demo-reviews": "fb8bd10242223427",
    "demo-tags": "8822d593b033f2a2",
    "demo-questions": "d8a078c9d8fb2b7e",
    "demo-summaries": "78c23385fafdfe70",
}


@pytest.mark.parametrize("name", MADE)
def test_rows_are_the_same_everywhere(name: str) -> None:
    rows = [json.dumps(row) for row in MADE[name]()]
    assert 400 <= len(rows) <= 1000 and len(set(rows)) == len(rows)
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", MADE)
def test_they_are_recognised_and_none_is_dropped(name: str) -> None:
    reading = DataReading(DataSection(path=name))
    reads = list(reading)
    assert all(read.record is not None and read.problem is None and not read.steps for read in reads)
    (found,) = reading.detections
    formats = {
        "reviews": "text_label",
        "tags": "token_tags",
        "questions": "qa",
        "summaries": "prompt_response",
    }
    assert found.detection.format == formats[name[5:]]


def test_no_review_is_told_by_one_word_alone() -> None:
    rows = list(demo.review_rows())
    assert set(Counter(row["label"] for row in rows)) == {"positive", "negative"}
    share = Counter(row["label"] for row in rows).most_common(1)[0][1] / len(rows)
    assert share < 0.55
    granted = [row for row in rows if "may be" in row["text"]]
    assert len(granted) > len(rows) / 10, "some speak of the other side too"
    words = Counter(word for row in rows for word in set(re.findall("[a-z]+", row["text"].lower())))
    telling = {word for word, count in words.items() if count > 20}
    for word in telling:
        labels = Counter(row["label"] for row in rows if re.search(rf"\b{word}\b", row["text"].lower()))
        assert abs(labels["positive"] - labels["negative"]) < 0.25 * len(rows), word


def test_tags_are_bio_and_some_words_have_two_meanings() -> None:
    kinds: dict[str, set[str]] = {}
    for row in demo.tag_rows():
        before = "O"
        assert len(row["tokens"]) == len(row["ner_tags"])
        for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            assert tag == "O" or re.fullmatch("[BI]-(PER|LOC|ORG)", tag)
            if tag.startswith("I-"):
                assert before[2:] == tag[2:]
            kinds.setdefault(token, set()).add(tag[2:])
            before = tag
    assert {"PER", "LOC", "ORG"} <= kinds["Marsh"]


def test_an_answer_stands_where_it_is_said_to_and_nowhere_else() -> None:
    answers: Counter[str] = Counter()
    places: Counter[int] = Counter()
    rows = list(demo.question_rows())
    for row in rows:
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(text)] == text
        if text not in FAMILIES:  # a town may have the name of a family
            assert len(re.findall(rf"\b{re.escape(text)}\b", row["context"])) == 1
        answers[text] += 1
        places[start] += 1
    assert answers.most_common(1)[0][1] < 0.05 * len(rows) and places.most_common(1)[0][1] < 0.1 * len(rows)


def test_a_tiny_model_is_made_the_same_in_another_process(tmp_path: Any) -> None:
    script = (
        "import hashlib, sys\n"
        "from tui_tuner.models.tiny import find_tiny_folder\n"
        "for name in ('tiny-bert', 'tiny-distilbert'):\n"
        "    for path in sorted(find_tiny_folder(name).iterdir()):\n"
        "        print(name, path.name, hashlib.sha256(path.read_bytes()).hexdigest())\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    found = []
    for number in (1, 2):
        made = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / str(number)), "PYTHONHASHSEED": str(number)}
        done = subprocess.run([sys.executable, "-c", script], env=made, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1] and found[0].count("\n") == 10
