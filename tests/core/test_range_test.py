"""The range test on a real small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import MakeConfig
from tui_tuner.errors import RunError
from tui_tuner.runs.control import CommandReceiver

STEPS = 40


def test_it_finds_a_rate_and_leaves_nothing(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.range_test import run_range_test

    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    config = make_config(method={"kind": "full"}, training__batch_size=4)
    before, said = config.model_copy(deep=True), []
    found = run_range_test(config, 1e-6, 10.0, STEPS, lambda *words: said.append(words))
    assert config == before and not list(kept.iterdir())
    assert found.losses[0] == pytest.approx(found.losses[1], rel=0.2)  # nothing is learnt at 1e-6
    assert found.suggestion.rate is not None and 1e-6 < found.suggestion.rate < 1
    assert min(found.smooth) < 0.9 * found.smooth[0]
    assert found.rates[1] / found.rates[0] == pytest.approx(10 ** (7 / (STEPS - 1)))
    assert any(words == "training" and total == STEPS for words, _, total, *_ in said)
    points = [heard[3:] for heard in said if len(heard) == 5 and heard[4] is not None]
    assert points == list(zip(found.rates, found.losses, strict=True))  # the curve was told as it grew


def test_the_rates_are_those_the_optimizer_uses(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tui_tuner.training.range_test import run_range_test

    used = []
    stock = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: object, **more: object) -> object:
        used.append(self.param_groups[0]["lr"])
        return stock(self, *args, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    found = run_range_test(make_config(training__batch_size=4), 1e-5, 1e-4, 10)
    assert used == pytest.approx(list(found.rates)) and len(used) == 10


def test_an_exploding_loss_ends_it(make_config: MakeConfig) -> None:
    from tui_tuner.training.range_test import run_range_test

    config = make_config(method={"kind": "full"}, training__batch_size=4)
    found = run_range_test(config, 1.0, 1e6, STEPS)
    assert found.ended and len(found.rates) < STEPS


def test_a_stop_is_heeded(make_config: MakeConfig, tmp_path: Path) -> None:
    from tui_tuner.training.range_test import run_range_test

    control = CommandReceiver(tmp_path / "control.jsonl")
    control.request_command("stop")
    with pytest.raises(RunError, match="before the first step"):
        run_range_test(make_config(), 1e-5, 1e-2, 10, control=control)


def test_the_command_prints_json_and_nothing_else(make_config: MakeConfig, tmp_path: Path) -> None:
    from tui_tuner.cli.command_list import app
    from tui_tuner.config.load import dump_config

    path = tmp_path / "run.yaml"
    path.write_text(dump_config(make_config(training__batch_size=4), changed_only=True))
    arguments = ["lr", str(path), "--steps", "12", "--low", "1e-5", "--high", "1e-2"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["points"]) == 12 and {"suggested", "why", "source"} <= set(found)
    wrong = CliRunner().invoke(app, [*arguments, "--low", "1"])
    assert "not below" in str(wrong.exception)
