"""`tui-tuner estimate --methods`: all methods next to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.planning.test_estimate_command import SHAPE
from tui_tuner.cli.command_list import app
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.planning.comparing.method_rows import ORDERS, choose_values, sort_rows

BERT = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
SAME = (
    *("trained_parameters", "adapter_parameters", "total_parameters", "parameters_exact", "file_bytes"),
    *("allocated_gib", "device_gib", "wanted_gib", "fits"),
)


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["estimate", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def write_config(folder: Path, shape: dict[str, Any], rows: str, **more: Any) -> str:
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "rows.jsonl").write_text(rows * 40)
    path = folder / "run.yaml"
    values = {"model": {"name": str(folder)}, "data": {"path": str(folder / "rows.jsonl")}, **more}
    path.write_text(json.dumps(values))
    return str(path)


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("chats"), SHAPE, '{"prompt": "a", "response": "b"}\n')


def compare(*arguments: str) -> dict[str, dict[str, Any]]:
    """The rows by name, in their order."""
    return {row["name"]: row for row in json.loads(call(*arguments, "--methods", "--json"))["methods"]}


@pytest.fixture(scope="module")
def rows(chat_run: str) -> dict[str, dict[str, Any]]:
    return compare(chat_run, "--gpu", "RTX 4090")


def test_the_numbers_are_those_of_an_estimate_of_each_method(
    chat_run: str, rows: dict[str, dict[str, Any]]
) -> None:
    assert set(rows) == set(METHODS)
    planned = [row for row in rows.values() if row["refused"] is None]
    assert len(planned) >= len(METHODS) - 1
    for row in planned:
        sets = [f"--set={path}={json.dumps(value)}" for path, value in row["values"].items()]
        found = json.loads(call(chat_run, "--gpu", "RTX 4090", "--json", *sets))
        assert {name: row[name] for name in SAME} == {name: found[name] for name in SAME}, row["name"]
        assert row["seconds"] == found["time"]["seconds"] > 0
        assert row["step_seconds"] == pytest.approx(row["seconds"] / found["time"]["steps"])
        assert row["time_unknown"] is None


def test_a_method_that_needs_a_field_gets_one_or_says_what_it_needs(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["freeze"]["values"] == {
        "method.kind": "freeze",
        "method.layers": SHAPE["num_hidden_layers"] // 4,
    }
    assert rows["fusion"]["missing"] == ["method.adapters"] and "adapters" in rows["fusion"]["refused"]
    assert list(rows)[-1] == "fusion"


def test_traits_stand_in_the_table(rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        kind = METHODS[name]
        assert row["quantised_base"] == kind.has_trait(Trait.QUANTISABLE)
        assert row["mergeable"] == (kind.has_trait(Trait.MERGEABLE) or not kind.has_trait(Trait.ADAPTER))


def test_a_method_without_quantised_weights_is_planned_without_them(chat_run: str) -> None:
    text = call(chat_run, "--gpu", "T4", "--methods", "--set", "model.quantization=nf4")
    assert "full with model.quantization=none" in text and "loha with model.quantization=none" in text
    found = compare(chat_run, "--gpu", "T4", "--set", "model.quantization=nf4")
    assert "model.quantization" not in found["lora"]["values"]
    assert found["lora"]["device_gib"] < found["full"]["device_gib"]


def test_what_the_model_or_the_settings_rule_out_is_last_with_the_reason(tmp_path: Path) -> None:
    shape = {**BERT, "model_type": "albert", "embedding_size": 32}
    run = write_config(
        tmp_path,
        shape,
        '{"text": "good", "label": "a"}\n{"text": "bad", "label": "b"}\n',
        task="classification",
    )
    found = compare(run, "--gpu", "T4")
    assert "share their weights" in found["bottleneck"]["refused"] and not found["bottleneck"]["missing"]
    refused = [row["refused"] is not None for row in found.values()]
    assert refused == sorted(refused)
    text = call(run, "--gpu", "T4", "--methods")
    assert "bottleneck: method.kind: " in text or "share their weights" in text


def test_virtual_tokens_take_packing_back_that_was_asked_for(chat_run: str) -> None:
    found = compare(chat_run, "--gpu", "T4", "--set", "data.packing=true")
    assert found["prompt_tuning"]["values"] == {"method.kind": "prompt_tuning", "data.packing": "auto"}
    assert found["prompt_tuning"]["device_gib"] > 0
    assert "data.packing" not in found["lora"]["values"]


def test_without_a_time_there_is_a_dash_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    path = tmp_path / "run.yaml"
    path.write_text(f"model:\n  name: {tmp_path}\ndata:\n  path: not-there.jsonl\n")
    text = call(str(path), "--gpu", "T4", "--methods")
    assert "– for the time: " in text and "predictions" in text
    lora = compare(str(path), "--gpu", "T4")["lora"]
    assert lora["seconds"] is None and lora["time_unknown"]


def test_layers_of_zero_are_for_methods_that_train_a_head() -> None:
    def get(path: str) -> Any:
        return {"method.layers": 0}.get(path)

    assert choose_values(get, METHODS["lora"], 8)["method.layers"] is None
    assert "method.layers" not in choose_values(get, METHODS["freeze"], 8)


@pytest.mark.parametrize("order", ORDERS)
def test_rows_are_sorted_with_refused_ones_last(chat_run: str, order: str) -> None:
    from tui_tuner.ui import planlook

    found: list[Any] = []
    values = json.loads(Path(chat_run).read_text())
    planlook.compare_draft(values, "T4", lambda row, _counted: found.append(row), lambda: False)
    rows = sort_rows(found, order)
    assert rows[-1].kind.name == "fusion" and len(rows) == len(METHODS)
    numbers = {
        "usual": list(range(len(rows) - 1)),
        "trained": [row.figures.parameters.trained for row in rows[:-1]],
        "memory": [row.figures.estimate.device for row in rows[:-1]],
        "time": [row.figures.seconds for row in rows[:-1]],
        "file": [row.figures.file_bytes for row in rows[:-1]],
    }[order]
    assert numbers == sorted(numbers)
