"""`tui-tuner estimate`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tui_tuner.cli.command_list import app
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
        "cache_gib",
        "context_gib",
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


def test_every_known_card_on_request(config, tmp_path):
    assert "H200" in call(config, "--cards")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n' * 800)
    found = json.loads(call(config, "--cards", "--json", "--set", f"data.path={rows}"))["cards"]
    times = {(one["name"], one["count"]): one["seconds"] for one in found}
    assert times["H100", 4] == pytest.approx(
        times["H100", 1] / 4, rel=0.02
    )  # the optimizer's step is each one's own
    assert re.search(
        r"H100 .* fits .*\d+ s, \d+ s, \d+ s", call(config, "--cards", "--set", f"data.path={rows}")
    )


def test_several_gpus_share_the_batch(config):
    one, two = (json.loads(call(config, "--json", "--gpu", name)) for name in ("H100", "2xH100"))
    assert two["fits"] and two["gpu"] == "H100" and "several GPUs" in two["reason"]
    assert "gradient buckets" in {row["name"] for row in two["rows"]} - {row["name"] for row in one["rows"]}
    with pytest.raises(HardwareError, match="asks for 4"):
        call(config, "--gpu", "2xH100", "--set", "hardware.devices=4")
    with pytest.raises(HardwareError, match="1 to 8"):
        call(config, "--gpu", "64xH100")


def test_a_processor_is_held_against_its_ram(config):
    found = json.loads(call(config, "--json", "--set", "hardware.devices=cpu"))
    assert "RAM" in found["gpu"] and not found["verified"] and "processors" in found["reason"]
    assert {row["name"] for row in found["rows"]} >= {"weights", "process"}
    assert sum(row["gib"] for row in found["rows"]) == pytest.approx(found["device_gib"])
    parts = (found["allocated_gib"], found["cache_gib"], found["context_gib"])
    assert sum(parts) == pytest.approx(found["device_gib"]) and all(part > 0 for part in parts)
    text = call(config, "--set", "hardware.devices=cpu")
    assert "with the process itself" in text and "CUDA" not in text


def test_without_a_card_it_says_what_the_figures_rest_on(config):
    assert "No GPU is named" in call(config) and "Micro-batch" in call(config)


def test_weights_stored_quantised_are_not_verified(config, tmp_path):
    shape = {**SHAPE, "quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    found = json.loads(call(config, "--json"))
    assert not found["verified"] and "quantised" in found["reason"]


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


def test_learning_rate_time_and_advice_beside_memory(config, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n' * 8)
    sets = ["--set", f"data.path={rows}", "--set", "hardware.price_per_hour=2"]
    found = json.loads(call(config, "--json", "--gpu", "T4", *sets))
    assert found["learning_rate"]["rule"] == found["learning_rate"]["rules"][0]["name"]
    assert found["learning_rate"]["rate"] == found["learning_rate"]["rules"][0]["rate"]
    assert found["data"]["rows"] == 7 and found["data"]["validation_rows"] == 1
    assert 0 < found["time"]["seconds_low"] < found["time"]["seconds"] < found["time"]["seconds_high"]
    assert found["time"]["cost"] == pytest.approx(found["time"]["seconds"] / 1800)
    assert "batch_over_rows" in {one["code"] for one in found["advice"]}
    text = call(config, "--gpu", "T4", *sets)
    assert "* usual for the method" in text and "money" in text and "--set training.batch_size=1" in text


def test_without_data_or_a_card_it_says_so(config):
    text = call(config)
    assert "not on this machine" in text
    assert json.loads(call(config, "--json"))["time"] is None


def test_a_rate_of_ones_own_is_named_as_such(config):
    found = json.loads(call(config, "--json", "--set", "training.learning_rate=0.5"))["learning_rate"]
    assert found["rate"] == 0.5 and found["rule"] is None


def run(*arguments, **environment):
    command = [sys.executable, "-c", "from tui_tuner.cli import main; main()", "estimate", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120, check=False
    )


def test_exit_codes_and_no_torch(config, tmp_path):
    code = (
        "import sys\nfrom tui_tuner.cli import _choose_entry\n_choose_entry(sys.argv[1:])\n"
        "print([m for m in ('torch', 'transformers', 'textual') if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "estimate", config, "--gpu", "T4"]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stderr.strip() == "[]"
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": -3}')
    broken = run(config)
    assert broken.returncode == 2 and "hidden_size" in broken.stderr and "Traceback" not in broken.stderr
    lost = run(
        config,
        "--set",
        "model.name=nobody/unknown-model",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=str(tmp_path),
    )
    assert lost.returncode == 1 and "cannot be reached" in lost.stderr
