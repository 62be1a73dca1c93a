"""Answers inside a text are learnt, judged by all windows, saved with their threshold, and asked for."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.objective_checks import ObjectiveChecks
from tests.core.tasks.question_rows import articles, word_pieces, write_bert, write_squad
from tui_tuner.compute import attention
from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.compute.forward import ForwardWay, MicroSize
from tui_tuner.config.load import build_config
from tui_tuner.data.examples.questions import QuestionEncoder
from tui_tuner.data.examples.token_types import unpack_types
from tui_tuner.data.records import Question
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.answer_spans import Candidate, FoundAnswers
from tui_tuner.evaluation.squad import AnsweredQuestion
from tui_tuner.methods import find_method
from tui_tuner.methods.attached import remember_method
from tui_tuner.tasks import find_task
from tui_tuner.tasks.answering.answer_judging import judge_answers
from tui_tuner.tasks.answering.answer_showing import show_answer
from tui_tuner.tasks.answering.objective import SpanObjective
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
FLAT = ForwardWay(packing=True, compact=False, segments=True)
PADDED = ForwardWay(packing=False, compact=False, segments=False)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "bert")


def examples() -> CheckRows:
    """Windows of texts of unequal length, some of which do not hold the answer."""
    data = {"path": "none", "max_length": 24, "stride": 5}
    config = build_config({"task": "question_answering", "model": {"name": "demo"}, "data": data})
    records = [
        Question(one["question"], part["context"], [(a["text"], a["answer_start"]) for a in one["answers"]])
        for article in articles(6, 2, True)
        for part in article["paragraphs"]
        for one in part["qas"]
    ]
    found = QuestionEncoder(config, word_pieces()).encode_batch(records)
    return CheckRows([example for one in found for example in one.examples])  # type: ignore[union-attr]


def assert_same_edges(one: torch.Tensor, other: torch.Tensor) -> None:
    """Best edges and the null score, but for places behind the end of a short window."""
    torch.testing.assert_close(one[1, -1], other[1, -1], atol=1e-5, rtol=1e-5)
    for logits in (1, 3):
        left, right = (each[logits, :-1][torch.isfinite(each[logits, :-1])] for each in (one, other))
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


class SpanChecks(ObjectiveChecks):
    """Held against transformers' own head, a window at a time."""

    way = PADDED

    def make(self) -> tuple[SpanObjective, Any, CheckRows]:
        from transformers import BertConfig, BertForQuestionAnswering

        attention.register_attention()
        torch.manual_seed(1)
        shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
        drop = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
        model = BertForQuestionAnswering(
            BertConfig(vocab_size=120, hidden_size=32, intermediate_size=64, **shape, **drop)
        )
        if self.way.segments:
            model.set_attn_implementation(attention.NAME)
        data = {"path": "none", "max_length": 24, "stride": 5}
        config = build_config({"task": "question_answering", "model": {"name": "demo"}, "data": data})
        objective = SpanObjective(config)
        objective.way = self.way
        return objective, model.train(), examples()

    def plain(self, model: Any, data: Any, rows: list[int]) -> torch.Tensor:
        own = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        losses = []
        for row in rows:
            example = data[row]
            types = unpack_types(example.columns["token_types"], len(example))
            losses.append(
                model(
                    input_ids=torch.from_numpy(example.ids).long()[None],
                    token_type_ids=torch.from_numpy(types)[None],
                    start_positions=torch.tensor([example.columns["start"]]),
                    end_positions=torch.tensor([example.columns["end"]]),
                ).loss
            )
        model.set_attn_implementation(own)
        return torch.stack(losses).mean()

    def test_an_evaluation_adds_up_over_micro_batches(self) -> None:
        """Its loss does; what it keeps of each example does not depend on what lies beside it."""
        objective, model, data = self.make()
        model.eval()
        rows = list(range(len(data)))
        losses, spans = [], []
        with torch.no_grad():
            for size in (MicroSize(100, 10_000), MicroSize(2, 60)):
                loss, kept = 0.0, {}
                for group in objective.group_rows(data, rows, size):
                    measured = objective.measure_batch(
                        model, objective.lay_batch(data, group, training=False)
                    )
                    loss += float(measured["loss"])
                    kept.update(zip(group, measured["spans"].values, strict=True))
                losses.append(loss / objective.count_weight(data, rows))
                spans.append([kept[row] for row in rows])
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert losses[0] == pytest.approx(float(self.plain(model, data, rows).detach()), abs=1e-4)
        for one, other in zip(*spans, strict=True):
            assert_same_edges(one, other)

    def test_held_out_questions_are_computed_as_those_who_load_the_model_do(self) -> None:
        """Nothing of an evaluation is rounded to 16 bits on a processor, whatever training does there."""
        objective, model, data = self.make()
        model.eval()
        with torch.no_grad():
            micro = objective.lay_batch(data, range(len(data)), training=False)
            wanted = objective.measure_batch(model, micro)
            objective.way = replace(objective.way, autocast=torch.bfloat16)
            rounded = objective.compute_losses(model, micro, objective.way).double().sum()
            found = objective.measure_batch(model, micro)
        assert torch.equal(wanted["loss"], found["loss"]) and not torch.equal(wanted["loss"], rounded)
        for one, other in zip(wanted["spans"].values, found["spans"].values, strict=True):
            assert torch.equal(one, other)


class TestPadded(SpanChecks):
    pass


class TestFlat(SpanChecks):
    way = FLAT


def test_the_best_edges_are_the_same_in_flat_and_in_padded_rows() -> None:
    found = []
    for checks in (TestPadded(), TestFlat()):
        objective, model, data = checks.make()
        model.eval()
        with torch.no_grad():
            micro = objective.lay_batch(data, range(len(data)), training=False)
            measured = objective.measure_batch(model, micro)
        found.append(measured)
    assert float(found[0]["loss"]) == pytest.approx(float(found[1]["loss"]), rel=1e-5)
    for one, other in zip(found[0]["spans"].values, found[1]["spans"].values, strict=True):
        assert_same_edges(one, other)


def questions_of(path: Path) -> dict[str, dict[str, Any]]:
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    return {
        one["id"]: {**one, "context": part["context"]}
        for article in data
        for part in article["paragraphs"]
        for one in part["qas"]
    }


def settings(bert: Path, folder: Path, unanswered: bool = True, **more: Any) -> dict[str, Any]:
    """A short run in windows that most texts do not fit into."""
    values = {
        "task": "question_answering",
        "model__name": str(bert),
        "data__path": str(write_squad(folder / "train.json", 120, 1, unanswered)),
        "data__validation": str(write_squad(folder / "dev.json", 24, 2, unanswered)),
        "data__max_length": 20,
        "data__stride": 4,
        "method": {"kind": "full"},
        "training__max_steps": 24,
        "training__learning_rate": 0.003,
        "training__batch_size": 16,
        "training__micro_batch": 16,
        "evaluation__every": None,
        "evaluation__samples": 3,
        "output__save_every": None,
    }
    return values | more


def test_a_bert_learns_to_answer_and_knows_what_has_no_answer(
    bert: Path, tmp_path: Path, make_config: MakeConfig, train: Train
) -> None:
    ran = train(make_config(**settings(bert, tmp_path)))
    assert ran.outcome.status == "completed", ran.outcome
    assert "self_check" not in ran.codes()
    judged = [one for one in ran.sink.of("evaluation") if one["stage"] == "validation"]
    before, after = judged[0]["metrics"], judged[-1]["metrics"]
    assert after["f1"] > 0.85 > 0.5 > before["f1"] and after["loss"] < before["loss"]

    # the figures are those of the predictions that were written, and of the whole held-out file
    asked = questions_of(tmp_path / "dev.json")
    predictions = json.loads((ran.folder.path / "predictions.json").read_text(encoding="utf-8"))
    assert set(predictions) == set(asked)
    rows = [
        AnsweredQuestion([a["text"] for a in one["answers"]], predictions[name], float(not predictions[name]))
        for name, one in asked.items()
    ]
    again = judge_answers(rows, 0.5)[0].metrics
    assert again["exact_match"] == after["exact_match"] and again["f1"] == after["f1"]
    tables = {one["name"]: one for one in ran.sink.of("table") if one["step"] == 24}
    assert tables["classes"]["rows"] == ["HasAns", "NoAns"]
    assert tables["classes"]["values"][1][0] > 0.8, "questions without an answer are known"

    # the samples show answers inside their text
    shown = [one for one in ran.sink.of("sample") if one["stage"] == "after"]
    assert len(shown) == 3
    for one in shown:
        for span in one.get("found", ()):
            assert one["passage"][span["start"] : span["end"]] == one["text"]
        assert sum(share for _text, share in one["scores"]) == pytest.approx(1)
        wanted = [one["passage"][span["start"] : span["end"]] for span in one.get("wanted", ())]
        assert wanted == ([one["reference"]] if wanted else []) and (
            wanted or one["reference"] == "no answer"
        )


def _snippet_says(folder: Path, question: str, text: str) -> str:
    """What the snippet of a card prints of this question."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    assert code is not None
    asked = re.sub(r"question, text = .*", f"question, text = {question!r}, {text!r}", code[1])
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(asked.replace('folder = "."', f"folder = {str(folder)!r}"), {})
    return said.getvalue().strip()


def _check_snippet(folder: Path) -> None:
    """It gives no answer by the threshold that lies in the folder, and else one of at most 30 tokens."""
    config, text = folder / "config.json", "it rains in Oslo then " * 12
    kept = config.read_text()
    for threshold in (-1e5, 1e5):
        config.write_text(json.dumps({**json.loads(kept), "null_threshold": threshold}))
        said = _snippet_says(folder, "which city ?", text)
        assert (said == "no answer") == (threshold < 0)
        assert said in text or threshold < 0
        assert len(word_pieces()(said, add_special_tokens=False)["input_ids"]) <= 30
    config.write_text(kept)


def _check_plain_peft(bert: Path, saved: Path) -> None:
    """An adapter that peft loads by itself reads token types, as it did when it was trained."""
    from peft import PeftModel
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved)
    base = AutoModelForQuestionAnswering.from_pretrained(bert)
    loaded, trained = PeftModel.from_pretrained(base, saved).eval(), load_run(saved.parent, "last").model
    inputs = tokenizer("which city ?", "it rains in Oslo then", return_tensors="pt")
    with torch.no_grad():
        found, wanted = loaded(**inputs), trained.get_base_model()(**inputs)
        without = trained.get_base_model()(input_ids=inputs["input_ids"])
    torch.testing.assert_close(found.start_logits, wanted.start_logits, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.end_logits, wanted.end_logits, atol=1e-6, rtol=1e-6)
    assert float((found.start_logits - without.start_logits).abs().max()) > 1e-3


def test_the_threshold_is_saved_and_asking_uses_it(
    bert: Path, tmp_path: Path, make_config: MakeConfig, train: Train
) -> None:
    lora = {"method": {"kind": "lora", "rank": 4}, "training__max_steps": 6, "evaluation__every": 3}
    ran = train(make_config(**settings(bert, tmp_path, output__save_every=3, **lora)))
    assert ran.outcome.status == "completed", ran.outcome
    _check_plain_peft(bert, ran.folder.last_path)
    _check_snippet(ran.folder.last_path)
    judged = {one["step"]: one["metrics"] for one in ran.sink.of("evaluation")}
    for which, step in (("last", 6), ("step-3", 3)):
        loaded = load_run(ran.folder, which)
        assert loaded.model.config.null_threshold == judged[step]["null_threshold"]
        assert loaded.model.config.num_labels == 2

    task, text = find_task("question_answering"), "it rains and we walk along " * 30 + "home to Oslo then"
    shown = task.ask_model(loaded.model, loaded.tokenizer, loaded.config, text, "which city ?")
    assert shown.prompt == "which city ?" and shown.passage == text
    loaded.model.config.null_threshold = -1e5
    none = task.ask_model(loaded.model, loaded.tokenizer, loaded.config, text, "which city ?")
    assert none.text == "no answer" and not none.found and none.scores[0][0] == ""
    loaded.model.config.null_threshold = 1e5
    some = task.ask_model(loaded.model, loaded.tokenizer, loaded.config, text, "which city ?")
    assert len(some.found) == 1 and some.scores[0][0] == some.text != ""
    assert some.passage[some.found[0].start : some.found[0].end] == some.text
    for text, question, what in (
        ("a text", " ", "question"),
        (" ", "who ?", "empty"),
        ("x", "who " * 99, "room"),
    ):
        with pytest.raises(UsageError, match=what):
            task.ask_model(loaded.model, loaded.tokenizer, loaded.config, text, question)


def test_version_1_answers_every_question(
    bert: Path, tmp_path: Path, make_config: MakeConfig, train: Train
) -> None:
    base = shutil.copytree(bert, tmp_path / "base")
    known = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**known, "null_threshold": -1e5}))  # of an earlier training
    short = {"training__max_steps": 2, "evaluation__samples": 1}
    ran = train(make_config(**settings(base, tmp_path, unanswered=False, **short)))
    assert ran.outcome.status == "completed", ran.outcome
    metrics = ran.sink.of("evaluation")[-1]["metrics"]
    assert set(metrics) == {"loss", "exact_match", "f1"}
    assert all(json.loads((ran.folder.path / "predictions.json").read_text()).values())
    assert "null_threshold" not in json.loads((ran.folder.last_path / "config.json").read_text())
    assert all(one["text"] != "no answer" for one in ran.sink.of("sample"))


def test_a_run_without_any_answer_is_refused(
    bert: Path, tmp_path: Path, make_config: MakeConfig, train: Train
) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"question": "who ?", "context": "it rains", "answers": {"text": [], "answer_start": []}}
    rows.write_text("".join(json.dumps({**row, "context": f"it rains {n}"}) + "\n" for n in range(9)))
    ran = train(make_config(**settings(bert, tmp_path, data__path=str(rows))))
    assert ran.outcome.status == "failed" and "nothing to find" in ran.outcome.message


def test_a_long_text_is_shown_around_its_answer() -> None:
    context = "it rains and we walk along " * 200 + "home to Oslo then " + "and it rains " * 200
    start = context.index("Oslo")
    found = FoundAnswers([Candidate(start, start + 4, 2.0), Candidate(0, 2, 1.0)], -1.0, 1.0)
    shown = show_answer("which ?", context, found, 0.0, [("Oslo", start), ("it", 0)])
    assert len(shown.passage) <= 600 and shown.passage in context and shown.reference == shown.text == "Oslo"
    (span,), (wanted,) = shown.found, shown.wanted  # the other right answer lies outside of what is shown
    assert shown.passage[span.start : span.end] == shown.passage[wanted.start : wanted.end] == "Oslo"
    assert not show_answer("which ?", context, found, -2.0, []).found


def test_an_adapter_leaves_token_types_and_flat_rows_alone() -> None:
    """peft's wrapper for this task drops token types and positions; the loss must be the model's own."""
    from peft import LoraConfig, get_peft_model

    checks = TestFlat()
    objective, model, data = checks.make()
    rows = list(range(len(data)))
    plain = checks.plain(model, data, rows)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="QUESTION_ANS"))
    remember_method(wrapped, find_method("lora"))
    with torch.no_grad():
        found = objective.sum_losses(wrapped, objective.lay_batch(data, rows)) / objective.count_weight(
            data, rows
        )
    torch.testing.assert_close(found, plain.detach(), atol=1e-5, rtol=1e-5)
