"""ONNX files: ONNX Runtime answers as the model does, any number of texts; and what is refused."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from tests.conftest import MakeConfig, write_jsonl
from tests.core.exporting.test_exports import TrainRun, origin_of
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import ModelError, UsageError
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.onnx.loading_lines import describe_onnx_loading
from tui_tuner.exporting.onnx.onnx_target import count_other_choices
from tui_tuner.exporting.parity.answers import Answers, PromptAnswer
from tui_tuner.exporting.parity.compare import BOUNDS
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import find_origin
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.runs.store import RunStore

TEXTS = ["The old key was sold.", "Who sold it?", "Ada Bell sold the key and the lamp to a friend in York."]


@pytest.fixture
def runtime() -> Any:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    return pytest.importorskip("onnxruntime")


def open_graph(runtime: Any, folder: Path) -> Any:
    return runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


@pytest.mark.usefixtures("runtime")
def test_a_classifier_with_an_adapter_is_merged_proved_and_runs_by_the_lines_of_its_card(
    make_config: MakeConfig,
    train: TrainRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"text": f"row {n} is fine", "label": ("bad", "good")[n % 2]} for n in range(40)]
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run = train(
        make_config(
            task="classification", model__name="tiny-distilbert", data__path=str(data), training__max_steps=3
        )
    )
    out = tmp_path / "out"
    found = export_model(origin_of(run), ExportOptions("onnx", str(out)))
    assert found.parity.passed and found.parity.program.startswith("onnxruntime")
    told = json.loads((out / "parity.json").read_text(encoding="utf-8"))
    assert told["token_differences"] == 0 and len(told["prompts"]) >= 8 and told["top_1_agreement"] == 1.0
    assert {"onnx", "onnxruntime", "transformers"} <= set(told["versions"])
    assert [one["rows"] for one in told["details"]["batches"]] == [3, 1, 2]
    assert told["details"]["choices"] == len(told["prompts"]) and not told["details"]["other_choices"]
    names = {path.name for path in out.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json", "export.json", "README.md"} <= names
    assert not any("safetensors" in name or (out / name).is_dir() for name in names)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "library_name: onnx" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(out)
    exec(code[1], {})
    assert set(re.findall(r"'(\w+)'", capsys.readouterr().out)) <= {"bad", "good"}


def test_a_tagger_answers_one_text_and_three_of_any_length(runtime: Any, tmp_path: Path) -> None:
    tiny = find_tiny_folder("tiny-bert")
    assert tiny is not None
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    torch.manual_seed(0)
    model = BertForTokenClassification(config).eval().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    origin = find_origin(str(tmp_path / "tagger"), RunStore(tmp_path))
    found = export_model(origin, ExportOptions("onnx", str(tmp_path / "out")))
    assert found.parity.passed and any("float32" in note for note in found.notes)
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    session = open_graph(runtime, tmp_path / "out")
    assert [one.shape for one in session.get_inputs()] == [["batch", "length"]] * 3
    assert [one.shape for one in session.get_outputs()] == [["batch", "length", 3]]
    for texts in (TEXTS[:1], TEXTS[1:2], TEXTS, [TEXTS[1]] * 3):
        given = again(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = model.float()(**given).logits
        (got,) = session.run(["logits"], {one.name: given[one.name].numpy() for one in session.get_inputs()})
        kept = given["attention_mask"].bool()
        assert (torch.from_numpy(got) - expected)[kept].abs().max() < 1e-5
    said = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert list(said["id2label"].values()) == list(labels.values())


@pytest.mark.usefixtures("runtime")
def test_models_that_write_are_refused_with_what_carries_them(tiny_model: Path, tmp_path: Path) -> None:
    origin = find_origin(str(tiny_model), RunStore(tmp_path))
    with pytest.raises(ModelError, match="this one is for the task sft") as told:
        export_model(origin, ExportOptions("onnx", str(tmp_path / "out")))
    assert "--to merged" in told.value.hint and "--to gguf" in told.value.hint
    assert not list(tmp_path.glob("out*"))


def test_without_its_packages_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = find_tiny_folder("tiny-bert")
    own = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name.startswith("onnx") else own(name, *more),
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=16,
        )
    ).save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    origin = find_origin(str(tmp_path / "tagger"), RunStore(tmp_path))
    with pytest.raises(UsageError, match="onnx, onnxscript, onnxruntime") as told:
        export_model(origin, ExportOptions("onnx", str(tmp_path / "out")))
    assert "tui-tuner[onnx]" in told.value.hint and not list(tmp_path.glob("out*"))


def test_other_choices_are_counted_unless_a_near_tie_explains_them() -> None:
    def make(*rows: list[float]) -> Answers:
        return Answers([], [PromptAnswer([], logits=torch.tensor(rows))])

    result = make([1.0, 0.0], [0.5, 0.50001], [0.0, 2.0])
    export = make([0.0, 1.0], [0.50001, 0.5], [0.0, 2.0])
    assert count_other_choices(result, export, BOUNDS["float32"]) == (3, 2, 1)
    assert count_other_choices(result, result, BOUNDS["float32"]) == (3, 0, 0)


def test_a_number_is_compared_by_its_size() -> None:
    bounds = BOUNDS["float32"]
    assert bounds.allow_difference(torch.tensor([[-50000.0]])) == pytest.approx(5.0)
    assert bounds.allow_difference(torch.tensor([[1.0, 3.0]])) == pytest.approx(2e-4)


@pytest.mark.parametrize("kind", [one for one in TASKS.values() if not one.writes])
@pytest.mark.parametrize("problem", ["", "multi_label_classification", "regression"])
def test_the_lines_of_a_card_are_python(kind: Any, problem: str) -> None:
    code = describe_onnx_loading(kind, problem)
    compile(code, "card", "exec")
    assert "model.onnx" in code
