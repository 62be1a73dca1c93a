"""`tui-tuner estimate`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tui_tuner.cli.commands import app
from tui_tuner.errors import HardwareError, ModelError, UsageError

SHAPE = {
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128256,
}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    path = tmp_path / "run.yaml"
    path.write_text(f"model:\n  name: {tmp_path}\ndata:\n  path: not-there.jsonl\n")
    return str(path)


def call(*arguments):
    result = CliRunner().invoke(app, ["estimate", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_json_has_the_documented_keys_and_its_rows_sum(config):
    found = json.loads(call(config, "--json", "--stack", "transformers==4.48.1,torch==2.4.1"))
    wanted = {
        "allocated_gib",
        "reserved_gib",
        "device_gib",
        "static_gib",
        "phase",
        "rows",
        "verified",
        "stack",
    }
    assert wanted <= set(found)
    peak = sum(row["gib"] for row in found["rows"] if row["phase"] == found["phase"])
    assert peak == pytest.approx(found["allocated_gib"])
    assert found["stack"]["transformers"] == "4.48.1"


def test_a_card_gives_a_verdict_and_levers(config):
    found = json.loads(call(config, "--json", "--gpu", "T4"))
    assert found["gpu"] == "T4" and isinstance(found["fits"], bool) and found["levers"]
    text = call(config, "--gpu", "T4", "--set", "training.micro_batch=8")
    assert "T4" in text and "saves GiB" in text


def test_every_known_card_on_request(config):
    assert "H200" in call(config, "--cards")


def test_settings_change_the_answer(config):
    small, large = (
        json.loads(call(config, "--json", "--set", f"training.micro_batch={n}"))["allocated_gib"]
        for n in (1, 8)
    )
    assert large > small


def test_mistakes_are_named(config, tmp_path):
    with pytest.raises(HardwareError, match="RTX 4099"):
        call(config, "--gpu", "RTX 4099")
    with pytest.raises(UsageError, match="names no version"):
        call(config, "--stack", "transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="model_type"):
        call(config)
