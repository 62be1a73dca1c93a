"""Runs that learn to rewrite texts: rows and their limits, results for plain libraries, resuming, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.core.rewriting.rewriters import make_rewriter, save_rewriter
from tests.core.survive.test_out_of_memory import Injected
from tui_tuner import demo
from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ConfigError
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model, load_tokenizer
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.planning.traps.advice import list_trap_findings
from tui_tuner.tasks import find_task

Train = Callable[..., Trained]
Make = Callable[..., Any]
# Loads with plain libraries, in a process that has never heard of this package
RELOAD = """
import json, sys, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
base, folder, text = sys.argv[1:]
model = AutoModelForSeq2SeqLM.from_pretrained(base or folder, dtype=torch.float32)
if base:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
assert not any(name.startswith("tui_tuner") for name in sys.modules)
batch = tokenizer(text, text_target="The museum is closed .", return_tensors="pt")
with torch.no_grad():
    logits = model.eval()(**batch).logits
    made = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=8)
print(json.dumps([logits.flatten().tolist(), made[0].tolist()]))
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models with one tokenizer, and dropout as they are published with."""
    root = tmp_path_factory.mktemp("rewriters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        own = find_tiny_folder("tiny-t5")
    assert own is not None
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(own)
    return {
        "t5": save_rewriter(root / "t5", "t5", tokenizer, dropout_rate=0.1),
        "bart": save_rewriter(root / "bart", "bart", tokenizer, dropout=0.1, max_position_embeddings=128),
    }


@pytest.fixture
def make(make_config: MakeConfig, bases: dict[str, Path], tmp_path: Path) -> Make:
    """A run over some of the demo's notices, or rows of a test's own."""

    def config(kind: str = "t5", rows: Any = None, **more: Any) -> Any:
        path = write_jsonl(tmp_path / "rows.jsonl", rows or list(demo.summary_rows())[:60])
        return make_config(
            **{
                "task": "seq2seq",
                "model__name": str(bases[kind]),
                "data__path": str(path),
                "method__kind": "full",
                "training__micro_batch": 4,
                **more,
            }
        )

    return config


def encode(config: Any) -> tuple[list[Any], Any]:
    """The examples of all rows, and the ledger."""
    from tui_tuner.data.examples.record_encoder import RowEncoder
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.read_data import DataReading
    from tui_tuner.tasks import find_task
    from tui_tuner.tasks.preview.mask import ExampleCollector

    encoder = find_task(config.task).make_encoder(config, load_tokenizer(config.model))
    found, ledger = ExampleCollector(), Ledger()
    RowEncoder(encoder).encode_rows(list(DataReading(config.data)), found, ledger)
    return found.examples, ledger


def test_both_sides_are_as_the_tokenizer_makes_them(make: Make) -> None:
    rows = [
        {"document": "The museum is open .", "summary": "It is open ."},
        {
            "messages": [
                {"role": "system", "content": "Be brief ."},
                {"role": "user", "content": "The mill"},
                {"role": "assistant", "content": "is closed ."},
                {"role": "user", "content": "On Monday"},
                {"role": "assistant", "content": "The mill is closed on Monday ."},
            ]
        },
    ]
    for row, (source, target) in zip(
        rows,
        [
            ("sum: The museum is open .", "It is open ."),
            ("sum: Be brief .\nThe mill\nis closed .\nOn Monday", "The mill is closed on Monday ."),
        ],
        strict=True,
    ):
        config = make(rows=[row] * 4, data__prefix="sum: ")
        examples, ledger = encode(config)
        batch = load_tokenizer(config.model)(source, text_target=target)
        read, written = batch["input_ids"], batch["labels"]
        assert examples[0].ids.tolist() == read + written and written[-1] == 1
        assert examples[0].labels.tolist() == [-100] * len(read) + written
        assert examples[0].columns == {"source": len(read)}
        assert ledger.outcomes["kept"] == 4


def test_what_is_too_long_is_cut_or_left_out_and_always_counted(make: Make) -> None:
    rows = [
        {"document": "The museum is open on Monday .", "summary": "It is open ."},
        {"document": "The mill .", "summary": "The mill is closed on Monday ."},
        {"document": "The museum is open on Monday .", "summary": "The mill is closed on Monday ."},
        {"document": "The mill .", "summary": "It is ."},
    ]
    config = make(rows=rows, data__max_source=6, data__max_target=5)
    examples, ledger = encode(config)
    assert config.data.max_length == 11
    sizes = [(int(one.columns["source"]), one.trained_tokens) for one in examples]
    assert sizes == [(6, 5), (4, 5), (6, 5), (4, 4)]
    assert all(one.ids[-1] == 1 and one.ids[one.columns["source"] - 1] == 1 for one in examples), "eos stays"
    reasons = [(one.reason, one.count) for one in ledger.list_reasons("truncated")]
    assert sorted(count for _reason, count in reasons) == [1, 1, 1] and ledger.outcomes["kept"] == 1
    examples, ledger = encode(make(rows=rows, data__max_source=6, data__max_target=5, data__overlong="drop"))
    assert len(examples) == 1 and ledger.outcomes["dropped"] == 3
    (reason,) = ledger.list_reasons("dropped")
    assert reason.samples[0]["origin"].endswith("rows.jsonl:1")


def test_empty_sides_are_dropped_with_their_place(make: Make, train: Train) -> None:
    rows = list(demo.summary_rows())[:40]
    rows[2], rows[5] = {**rows[2], "summary": " "}, {**rows[5], "document": ""}
    run = train(make(rows=rows, data__max_dropped=0.1, training__max_steps=1))
    assert run.outcome.status == "completed", run.outcome
    ledger = run.sink.of("ledger")[-1]
    assert ledger["outcomes"]["dropped"] == 2 and ledger["closes"]
    told = json.dumps(ledger)
    assert "rows.jsonl:3" in told and "rows.jsonl:6" in told


@pytest.mark.parametrize(("kind", "method"), [("t5", "full"), ("bart", "lora")])
def test_plain_libraries_compute_the_same_with_a_result(
    make: Make, train: Train, bases: dict[str, Path], kind: str, method: str
) -> None:
    config = make(kind, method__kind=method, training__max_steps=12, training__learning_rate=0.01)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    first, *_between, last = [event["metrics"] for event in run.sink.of("evaluation")]
    assert last["loss"] < first["loss"] and 0 <= last["accuracy"] <= 1

    folder, base = run.folder.last_path, str(bases[kind]) if method == "lora" else ""
    text = "The museum will be closed on Monday ."
    said = subprocess.run(
        [sys.executable, "-c", RELOAD, base, str(folder), text],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    theirs, written = json.loads(said.stdout.splitlines()[-1])
    assert written[0] == 0 and len(written) > 1
    if method == "lora":
        from tui_tuner.methods.saved.putting import put_adapter

        model = put_adapter(load_model(config, "cpu", auto_class="AutoModelForSeq2SeqLM"), folder)
        assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"
    else:
        from transformers import AutoModelForSeq2SeqLM

        model = AutoModelForSeq2SeqLM.from_pretrained(folder)
        assert model.lm_head.weight is model.get_input_embeddings().weight
        kept = json.loads((folder / "generation_config.json").read_text())
        assert (kept["decoder_start_token_id"], kept["eos_token_id"]) == (0, 1)
    batch = load_tokenizer(config.model)(text, text_target="The museum is closed .", return_tensors="pt")
    with torch.no_grad():
        ours = model.eval()(**batch).logits.flatten()
    assert torch.allclose(ours, torch.tensor(theirs), atol=1e-5)


def test_a_resumed_run_equals_one_that_was_not_stopped(make: Make, train: Train) -> None:
    said = {"training__schedule": "constant", "training__warmup": 0, "training__label_smoothing": 0.1}
    whole = train(make(**said))
    part = train(make(**said, training__max_steps=3))
    resumed = train(make(**said), resume=part.folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    assert part.steps() | resumed.steps() == whole.steps()
    one, other = (run.folder.last_path / "model.safetensors" for run in (whole, resumed))
    assert one.read_bytes() == other.read_bytes()


def test_a_step_is_tried_again_with_half_the_rows(
    make: Make, train: Train, monkeypatch: pytest.MonkeyPatch, bases: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(make().model)
    base = save_rewriter(tmp_path / "calm", "t5", tokenizer)  # without dropout, which depends on the passes
    config = make(model__name=str(base), training__max_steps=3)
    calm = train(config)
    Injected(monkeypatch, "backward", at=3)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    assert run.steps() == pytest.approx(calm.steps(), abs=2e-5)
    assert run.sink.of("out_of_memory")[0]["micro_batch"] == [4, 2]


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        ("seq2seq", "llama", "has a decoder only"),
        ("seq2seq", "bert", "has no decoder to write with"),
        ("sft", "t5", "has an encoder and a decoder"),
        ("pretraining", "bart", "has an encoder and a decoder"),
        ("classification", "t5", "has an encoder and a decoder"),
    ],
)
def test_a_model_with_other_stacks_is_refused_before_the_run(
    make: Make,
    bases: dict[str, Path],
    tiny_model: Path,
    train: Train,
    task: str,
    kind: str,
    said: str,
) -> None:
    folders = {**bases, "llama": tiny_model, "bert": "tiny-bert"}
    name = str(folders[kind])
    run = train(make(task=task, model__name=name))
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 2)
    assert said in run.outcome.message and not run.sink.of("ledger")
    found = list_trap_findings(make(task=task), load_facts(ModelSection(name=name)))
    (trap,) = [one for one in found if one.code == "wrong_stacks"]
    assert trap.serious and trap.fix["task"] in ("sft", "classification", "seq2seq")


def test_rows_count_by_their_weights(make: Make, train: Train) -> None:
    rows = [{**row, "weight": 1 + number % 3} for number, row in enumerate(list(demo.summary_rows())[:40])]
    run = train(make(rows=rows, data__loss_weight="weight", training__max_steps=2))
    assert run.outcome.status == "completed", run.outcome
    plain = train(make(rows=rows, training__max_steps=2))
    assert run.steps() != plain.steps()


@pytest.mark.parametrize(
    ("kind", "first", "second", "start"),
    [
        ("MBart50Tokenizer", "en_XX", "de_DE", "forced_bos_token_id"),
        ("NllbTokenizer", "eng_Latn", "deu_Latn", "forced_bos_token_id"),
        ("MBartTokenizer", "en_XX", "de_DE", "decoder_start_token_id"),
    ],
)
def test_languages_are_marked_on_both_sides_and_begin_answers(
    make: Make, kind: str, first: str, second: str, start: str
) -> None:
    import transformers

    tokenizer = getattr(transformers, kind)()
    config = make(data__source_language=first, data__target_language=second)
    task = find_task("seq2seq")
    assert task.prepare_tokenizer(config, tokenizer) == []
    code = tokenizer.convert_tokens_to_ids(second)
    batch = tokenizer("a", text_target="a")
    assert tokenizer.convert_tokens_to_ids(first) in batch["input_ids"] and code in batch["labels"]
    assert code != tokenizer.unk_token_id
    encoder = task.make_encoder(config, tokenizer)
    assert encoder.export_learned()["start"] == {start: code}
    model = make_rewriter("mbart")
    task.finish_model(model, encoder.export_learned())
    assert getattr(model.generation_config, start) == code
    for changes, said in (
        ({"data__source_language": None}, "none is set"),
        ({"data__target_language": "xx"}, "knows no language xx"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            task.prepare_tokenizer(make(**{"data__source_language": first, **changes}), tokenizer)
        assert error.value.field in ("data.source_language", "data.target_language")


def test_a_tokenizer_without_languages_is_given_none(make: Make, bases: dict[str, Path]) -> None:
    config = make(data__target_language="de_DE")
    with pytest.raises(ConfigError, match="marks no languages"):
        find_task("seq2seq").prepare_tokenizer(config, load_tokenizer(config.model))
