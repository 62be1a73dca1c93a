"""Classification as a user meets it: runs of small models, their journal, and what others load of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.core.tasks.classifiers import labelled_rows, make_model, plain_tokenizer, word_tokenizer
from tui_tuner.tasks import find_task
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_model(tmp_path_factory.mktemp("encoder"), "bert", "AutoModel", **still)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose tokenizer has no padding token, nor any other that it could be padded with."""
    folder = tmp_path_factory.mktemp("decoder")
    return make_model(folder, "gpt2", "AutoModelForCausalLM", plain_tokenizer())


@pytest.fixture
def classify(make_config: MakeConfig, tmp_path: Path) -> Callable[..., Any]:
    """A config for a run over these rows."""

    def make(model: Path, rows: Any, **changes: Any) -> Any:
        path = rows if isinstance(rows, str) else str(write_jsonl(tmp_path / "rows.jsonl", rows))
        values = {
            "task": "classification",
            "model__name": str(model),
            "data__path": path,
            "data__validation": 0.2,
            "data__max_length": 64,
            "method": {"kind": "full"},
            "training__max_steps": 12,
            "training__batch_size": 16,
            "training__micro_batch": 8,
            "training__learning_rate": 0.003,
            "evaluation__every": 6,
            "evaluation__samples": 3,
            "output__save_every": 6,
        }
        return make_config(**{**values, **changes})

    return make


def metrics(run: Trained) -> dict[int, dict[str, float]]:
    return {fields["step"]: fields["metrics"] for fields in run.sink.of("evaluation")}


def test_an_encoder_learns_is_judged_shown_and_loads_elsewhere(
    classify: Any, train: Train, encoder: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = train(classify(encoder, labelled_rows(120, ("good", "bad")), training__max_steps=40))
    assert run.outcome.status == "completed", run.outcome
    found = metrics(run)
    assert found[0]["accuracy"] < 0.8 < found[40]["accuracy"]
    assert set(found[40]) == {"loss", "accuracy", "f1_macro", "mcc", "precision", "recall"}
    assert "self_check" not in run.codes()
    tables = {fields["name"]: fields for fields in run.sink.of("table") if fields["step"] == 40}
    assert tables["confusion"]["rows"] == ["bad", "good"]
    assert sum(map(sum, tables["confusion"]["values"])) == 24
    assert tables["classes"]["columns"] == ["precision", "recall", "f1", "rows"]

    samples = run.sink.of("sample")
    assert [one["stage"] for one in samples].count("before") == 3
    last = samples[-1]
    assert last["reference"] in ("good", "bad") and last["text"] == last["scores"][0][0]
    assert sum(score for _name, score in last["scores"]) == pytest.approx(1.0)

    place = run.folder.best_path
    model = AutoModelForSequenceClassification.from_pretrained(place)
    assert model.config.id2label == {0: "bad", 1: "good"} and model.config.label2id["good"] == 1
    assert model.config.problem_type == "single_label_classification"
    text = "word1 lovely word2"
    with torch.no_grad():
        logits = model(**AutoTokenizer.from_pretrained(place)(text, return_tensors="pt")).logits
    loaded, tokenizer, config = load_run(run.folder, "best", device="cpu")
    shown = find_task("classification").ask_model(loaded, tokenizer, config, text)
    chances = logits.softmax(-1)[0]
    assert dict(shown.scores) == pytest.approx(
        {"bad": float(chances[0]), "good": float(chances[1])}, abs=1e-5
    )
    assert shown.text == "good"


def test_what_is_judged_and_shown_is_what_the_saved_model_says(
    classify: Any, train: Train, encoder: Path
) -> None:
    """Training computes in 16 bits here, and whoever loads the result does not."""
    rows = labelled_rows(60, ("good", "bad"))
    run = train(classify(encoder, rows, training__max_steps=8, training__autocast=True))
    assert run.outcome.status == "completed", run.outcome
    loaded, tokenizer, config = load_run(run.folder, "last", device="cpu")
    after = [one for one in run.sink.of("sample") if one["stage"] == "after"]
    for one in after:
        said = find_task("classification").ask_model(loaded, tokenizer, config, one["prompt"])
        assert dict(said.scores) == pytest.approx(dict(one["scores"]), abs=2e-6)
    assert after


def test_a_metric_of_another_problem_ends_the_run_before_it_trains(
    classify: Any, train: Train, encoder: Path
) -> None:
    run = train(classify(encoder, labelled_rows(60, ("good", "bad")), evaluation__best="pearson"))
    assert run.outcome.status == "failed" and not run.sink.of("step")
    assert "'pearson' is not measured on these rows" in run.outcome.message


def test_how_rows_lie_changes_nothing(classify: Any, train: Train, encoder: Path) -> None:
    """Flat and padded rows, all at once and in parts: the same losses."""
    rows = [{**row, "sentence1": row.pop("text"), "sentence2": "word3 word4"} for row in labelled_rows(80)]
    settings: dict[str, Any] = {"training__class_weights": {"bad": 2.0}, "training__max_steps": 4}
    plain = train(classify(encoder, rows, data__packing=False, **settings))
    assert plain.outcome.status == "completed", plain.outcome
    for changes in (
        {"data__packing": True},
        {"data__packing": True, "training__micro_batch": 3},
    ):
        other = train(classify(encoder, rows, **settings, **changes))
        assert other.steps() == pytest.approx(plain.steps(), abs=2e-5), changes
        assert metrics(other)[4] == pytest.approx(metrics(plain)[4], abs=2e-5), changes


def test_two_processes_number_classes_as_one_does(
    classify: Any, train: Train, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = labelled_rows(60, ("10", "9", "2"))
    settings: dict[str, Any] = {"training__max_steps": 3, "evaluation__samples": 0}
    one = train(classify(encoder, rows, **settings))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    two = train(classify(encoder, rows, **settings, data__workers=2))
    assert one.steps() == two.steps(), "bit for bit"
    names = json.loads((two.folder.best_path / "config.json").read_text())["id2label"]
    assert names == {"0": "2", "1": "9", "2": "10"}, "numbers are numbered by their size"


def test_a_decoder_without_padding_learns_from_its_last_token(
    classify: Any, train: Train, decoder: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = [{**row, "text": f"{row['text']} ."} for row in labelled_rows(120)]
    run = train(classify(decoder, rows, training__max_steps=30, training__learning_rate=0.01))
    assert run.outcome.status == "completed", run.outcome
    assert metrics(run)[30]["accuracy"] > 0.8
    model = AutoModelForSequenceClassification.from_pretrained(run.folder.best_path)
    tokenizer = AutoTokenizer.from_pretrained(run.folder.best_path)
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    batch = tokenizer(
        ["word1 lovely .", "word9 word8 word7 dreadful word1 ."], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        together = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        alone = model(input_ids=batch["input_ids"][:1, :3]).logits
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_several_classes_at_once(classify: Any, train: Train, encoder: Path) -> None:
    rows = [
        {**row, "label": [name for name, on in zip("ab", (number % 2, number % 3 == 0), strict=True) if on]}
        for number, row in enumerate(labelled_rows(90))
    ]
    run = train(classify(encoder, rows, training__max_steps=6))
    assert run.outcome.status == "completed", run.outcome
    resolved = {fields["field"]: fields["value"] for fields in run.sink.of("resolved")}
    assert resolved["data.problem"] == "multi" and resolved["evaluation.best"] == "f1_macro"
    assert set(metrics(run)[6]) == {"loss", "accuracy", "f1_macro", "precision", "recall"}
    settings = json.loads((run.folder.best_path / "config.json").read_text())
    assert settings["problem_type"] == "multi_label_classification"
    assert settings["id2label"] == {"0": "a", "1": "b"}


def test_numbers_are_learnt(classify: Any, train: Train, encoder: Path) -> None:
    rows = labelled_rows(120, (0.25, 2.5))
    run = train(classify(encoder, rows, training__max_steps=40, training__learning_rate=0.01))
    assert run.outcome.status == "completed", run.outcome
    resolved = {fields["field"]: fields["value"] for fields in run.sink.of("resolved")}
    assert resolved["data.problem"] == "regression" and resolved["evaluation.best"] == "pearson"
    assert metrics(run)[40]["pearson"] > 0.5
    settings = json.loads((run.folder.best_path / "config.json").read_text())
    assert settings["problem_type"] == "regression"
    assert float(run.sink.of("sample")[-1]["reference"]) in (0.25, 2.5)


def test_a_head_that_is_there_keeps_its_order_or_begins_anew(
    classify: Any, train: Train, tmp_path: Path
) -> None:
    """A model of the same classes goes on; one of other classes gets new outputs, and that is said."""
    from transformers import AutoModelForSequenceClassification

    names = {"id2label": {0: "POSITIVE", 1: "NEGATIVE"}, "label2id": {"POSITIVE": 0, "NEGATIVE": 1}}
    base = make_model(
        tmp_path / "trained", "bert", "AutoModelForSequenceClassification", word_tokenizer(), **names
    )
    weights = AutoModelForSequenceClassification.from_pretrained(base).classifier.weight
    frozen: dict[str, Any] = {"training__max_steps": 1, "training__learning_rate": 1e-12}

    kept = train(classify(base, labelled_rows(40, ("negative", "positive")), **frozen))
    model = AutoModelForSequenceClassification.from_pretrained(kept.folder.best_path)
    assert model.config.id2label == {0: "POSITIVE", 1: "NEGATIVE"}
    torch.testing.assert_close(model.classifier.weight, weights)
    assert "new_head" not in kept.codes()
    assert {sample["reference"] for sample in kept.sink.of("sample")} <= {"POSITIVE", "NEGATIVE"}

    numbered = train(classify(base, labelled_rows(40, (1, 0)), **frozen))
    model = AutoModelForSequenceClassification.from_pretrained(numbered.folder.best_path)
    assert model.config.id2label == {0: "POSITIVE", 1: "NEGATIVE"}, "the rows have its numbers for names"
    torch.testing.assert_close(model.classifier.weight, weights)

    for labels in (("cold", "warm"), ("cold", "warm", "mild")):  # as many classes, and more
        other = train(classify(base, labelled_rows(42, labels), **frozen))
        assert other.outcome.status == "completed", other.outcome
        warned = next(fields for fields in other.sink.of("warning") if fields["code"] == "new_head")
        assert "POSITIVE" in warned["message"] and "cold" in warned["message"]
        model = AutoModelForSequenceClassification.from_pretrained(other.folder.best_path)
        assert list(model.config.id2label.values()) == sorted(labels)
        assert not torch.allclose(model.classifier.weight[:2], weights, atol=1e-3)
        again, _tokenizer, _config = load_run(other.folder, "best", device="cpu")
        torch.testing.assert_close(again.classifier.weight, model.classifier.weight)
