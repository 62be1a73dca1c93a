"""Runs that learn tags: judged over whole rows, shown, saved so that plain transformers tags the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.tasks.tagged_rows import FIRST, PLACES, TAGS, Sentence, sentences, small_bert, write_rows
from tui_tuner.data.examples.prepare import prepare_examples
from tui_tuner.errors import DataError, UsageError
from tui_tuner.evaluation.tag_samples import split_text_for_tags
from tui_tuner.evaluation.tagging import score_tags
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.tasks import find_task
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def make(make_config: MakeConfig, base: Path, tmp_path: Path) -> Make:
    """A run of tags over a file of its own."""

    def config(rows: Sequence[Any], **more: Any) -> Any:
        path = write_rows(tmp_path / "rows.jsonl", rows)
        return make_config(
            **{
                "task": "token_classification",
                "model__name": str(base),
                "data__path": str(path),
                "data__validation": 0.2,
                "method__kind": "full",
                "training__learning_rate": 5e-3,
                "training__max_steps": 40,
                "training__micro_batch": 4,
                "evaluation__every": 20,
                **more,
            }
        )

    return config


def tags_by_transformers(folder: Path, rows: Sequence[Sentence], length: int) -> list[list[str]]:
    """What a saved model says of whole rows, with nothing but transformers."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    found = []
    for words, _tags in rows:
        batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        assert batch["input_ids"].shape[1] <= length
        with torch.no_grad():
            classes = model(**batch).logits[0].argmax(-1).tolist()
        owners = batch.word_ids(0)
        firsts = [owners.index(word) for word in range(len(words))]
        found.append([model.config.id2label[classes[place]] for place in firsts])
    return found


def test_it_learns_is_judged_and_tags_the_same_with_transformers(
    make: Make, train: Train, tmp_path: Path
) -> None:
    rows = sentences(200)
    held = [one for one in sentences(60, seed=1, longest=5) if one not in rows][:30]
    path = write_rows(tmp_path / "held.jsonl", held)
    config = make(rows, data__validation=str(path), evaluation__samples=2)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    evaluations = [event["metrics"] for event in run.sink.of("evaluation")]
    names = {
        "loss",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "precision_strict",
        "recall_strict",
        "f1_strict",
    }
    assert all(set(metrics) == names for metrics in evaluations)
    assert evaluations[0]["f1"] < 0.5 < 0.9 < evaluations[-1]["f1"]
    assert run.outcome.message.split("best ")[1].startswith("f1 ")

    found = tags_by_transformers(run.folder.last_path, held, 128)
    judgement = score_tags([tags for _words, tags in held], found)
    last = evaluations[-1]
    assert last["accuracy"] == judgement.accuracy
    assert (last["precision"], last["recall"], last["f1"]) == judgement.counts.total_figures()
    table = run.sink.of("table")[-1]
    assert table["name"] == "classes" and table["rows"] == ["LOC", "PER"]
    assert [row[3] for row in table["values"]] == [judgement.counts.wanted[name] for name in ("LOC", "PER")]

    saved = json.loads((run.folder.last_path / "config.json").read_text())
    assert saved["id2label"] == {str(number): tag for number, tag in enumerate(TAGS)}
    assert saved["architectures"] == ["BertForTokenClassification"]
    shown = run.sink.of("sample")
    assert {event["stage"] for event in shown} == {"before", "during", "after"}
    text, wanted = shown[-1]["passage"], shown[-1]["wanted"]
    tags = {" ".join(words): tags for words, tags in held}[text]
    labels = [tag[2:] for tag in tags if tag.startswith("B-")]
    assert [span["label"] for span in wanted] == labels
    assert all(text[span["start"] : span["end"]].split()[0] in FIRST + PLACES for span in wanted)
    assert all(0 < span["score"] <= 1 for span in shown[-1]["found"])
    _ask(run.folder)


def _ask(folder: Any) -> None:
    """What the model finds in a text of the user's, longer than a window, at its places."""
    model, tokenizer, config = load_run(folder, "last", device="cpu")
    text = "the Anna Meyer went home. the Oslo went home.\n" * 30
    task = find_task(config.task)
    shown = task.ask_model(model, tokenizer, config, text)
    found = [(text[span.start : span.end], span.label) for span in shown.found]
    assert found.count(("Anna Meyer", "PER")) >= 28 and found.count(("Oslo", "LOC")) >= 28
    assert all(span.score is not None and 0 < span.score <= 1 for span in shown.found)
    assert shown.passage == text and task.ask_model(model, tokenizer, config, " \n").found == []
    with pytest.raises(UsageError, match="cannot answer a question"):
        task.ask_model(model, tokenizer, config, text, "Who went home?")


def test_windows_are_judged_over_whole_rows(make: Make, train: Train, base: Path) -> None:
    """Long rows in short windows: the metrics are those of whole rows, put together word by word."""
    rows = sentences(60, longest=8)
    config = make(rows, data__max_length=16, data__stride=6, training__max_steps=4, evaluation__every=4)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    ledger = run.sink.of("ledger")[-1]
    assert ledger["outcomes"]["split"] > 20 and ledger["closes"]
    prepared = prepare_examples(config, load_tokenizer(config.model), find_task(config.task))
    assert prepared.validation is not None
    held = {prepared.validation.row_of_example(index) for index in range(len(prepared.validation))}
    records = [prepared.validation.store.read_record(row) for row in sorted(held)]
    words = sum(len(record["tokens"]) for record in records)
    assert int(prepared.validation.trained_tokens.sum()) == words, "each word is judged once"
    assert int(prepared.train.trained_tokens.sum()) == sum(len(one) for one, _tags in rows) - words

    from tui_tuner.evaluation.tag_samples import Tagger

    loaded = load_run(run.folder, "last", device="cpu")
    tagger = Tagger(loaded.model, loaded.tokenizer, config)
    found = [[guess.tag for guess in tagger.tag_words(record["tokens"])] for record in records]
    judgement = score_tags([record["tags"] for record in records], found)
    last = run.sink.of("evaluation")[-1]["metrics"]
    assert last["accuracy"] == pytest.approx(judgement.accuracy, abs=1e-12)
    assert last["f1"] == pytest.approx(judgement.counts.total_figures()[2], abs=1e-12)
    assert run.sink.of("table")[-1]["values"][0][3] == judgement.counts.wanted["LOC"]


def test_the_order_of_classes_depends_on_no_process(make: Make, tmp_path: Path) -> None:
    rows = [*sentences(1500), (["the"], ["B-ZZZ"]), *sentences(1500, seed=4), (["the"], ["B-AAA"])]
    found = []
    for workers in (1, 2):
        config = make(rows, data__workers=workers, data__preflight="warn")
        task, cache = find_task(config.task), tmp_path / f"cache{workers}"
        prepared = prepare_examples(config, load_tokenizer(config.model), task, cache_dir=cache)
        labels = [prepared.train[index].labels.tolist() for index in range(len(prepared.train))]
        found.append((labels, task.model_values(config, prepared.learned)["id2label"]))
    assert found[0] == found[1]
    assert found[0][1] == dict(enumerate(["O", "B-AAA", "B-LOC", "B-PER", "B-ZZZ", "I-PER"]))


def test_bad_rows_end_in_the_ledger_with_their_place(make: Make, train: Train) -> None:
    bad = [
        (["Anna"], ["B-PER", "O"]),
        (["Anna", "Meyer"], ["B-PER", None]),
        (["Anna"], [True]),
        (["Anna", ""], ["O", ""]),
        ([], []),
    ]
    rows = [*sentences(100), *bad]
    run = train(make(rows, data__max_dropped=0.1, training__max_steps=2, evaluation__every=2))
    assert run.outcome.status == "completed", run.outcome
    ledger = run.sink.of("ledger")[-1]
    assert ledger["outcomes"]["dropped"] == 5 and ledger["closes"]
    said = {one["reason"]: one["samples"][0] for one in ledger["reasons"] if one["outcome"] == "dropped"}
    assert said["not as many tags as tokens"]["text"] == "1 tokens, 2 tags"
    assert said["not as many tags as tokens"]["origin"].endswith("rows.jsonl:101")
    assert said["a tag is neither text nor a number"]["text"] == "None at word 2, column ner_tags"
    assert "the row has no words" in said


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("one tag", "one_tag", "Every word has the tag O"),
        ("numbers", "unnamed_tags", "their meaning is unknown"),
    ],
)
def test_what_would_teach_nothing_is_refused(
    make: Make, train: Train, change: str, code: str, words: str
) -> None:
    rows = [
        (one, ["O"] * len(tags) if change == "one tag" else [TAGS.index(tag) for tag in tags])
        for one, tags in sentences(40)
    ]
    run = train(make(rows))
    assert run.outcome.status == "failed" and words in run.outcome.message
    assert not run.steps() and code in run.codes()
    if change == "numbers":
        named = train(make(rows, data__names=TAGS, training__max_steps=2, evaluation__every=2))
        assert named.outcome.status == "completed", named.outcome
        assert named.sink.of("table")[-1]["rows"] == ["LOC", "PER"]


def test_a_held_out_tag_that_nobody_trains_is_refused_with_its_place(make: Make, tmp_path: Path) -> None:
    held = [*sentences(5, seed=2), (["the", "Rome"], ["O", "B-GPE"])]
    path = write_rows(tmp_path / "held.jsonl", held)
    config = make(sentences(40), data__validation=str(path))
    with pytest.raises(DataError, match="word 2 has the tag B-GPE, which no training row has") as error:
        prepare_examples(config, load_tokenizer(config.model), find_task(config.task))
    assert error.value.where == f"{path}:6" and error.value.field == "data.validation"
    named = make(sentences(40), data__validation=str(path), data__names=[*TAGS, "B-GPE"])
    assert prepare_examples(named, load_tokenizer(named.model), find_task(named.task)).validation is not None


def test_a_head_that_knows_the_tags_is_kept_and_another_is_renewed(
    make: Make, train: Train, tmp_path: Path
) -> None:
    """Training goes on where the tags are the model's own, in its order, though the rows lack one of them."""
    own = ["O", "I-PER", "B-PER", "B-LOC", "B-ORG"]
    knowing = small_bert(tmp_path / "knowing", own)
    short = {"training__max_steps": 2, "evaluation__every": 2}
    run = train(make(sentences(40), model__name=str(knowing), **short))
    assert run.outcome.status == "completed" and "new_head" not in run.codes()
    saved = json.loads((run.folder.last_path / "config.json").read_text())
    assert list(saved["id2label"].values()) == own

    strange = small_bert(tmp_path / "strange", ["O", "B-A", "I-A", "B-B"])  # as many tags, and others
    run = train(make(sentences(40), model__name=str(strange), **short))
    assert run.outcome.status == "completed", run.outcome
    assert "new_head" in run.codes()
    told = next(event for event in run.sink.of("warning") if event["code"] == "new_head")
    assert "O, B-A, I-A, B-B" in told["message"] and "B-LOC" in told["message"]
    assert list(json.loads((run.folder.last_path / "config.json").read_text())["id2label"].values()) == TAGS


def test_texts_are_split_into_words_at_their_places() -> None:
    words = split_text_for_tags("Mr. O'Neill (U.N.) said:  well-known 北京 №5")
    assert words.words == [
        "Mr",
        ".",
        "O'Neill",
        "(",
        "U.N",
        ".",
        ")",
        "said",
        ":",
        "well-known",
        "北",
        "京",
        "№",
        "5",
    ]
    assert all(words.text[a:b] == word for word, (a, b) in zip(words.words, words.places, strict=True))
