"""Rates of a machine: measured, kept, and defended against."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tui_tuner.planning.gpus import CARDS
from tui_tuner.planning.speed.rate_store import add_rates_to_card, find_measured_rates, keep_measured_rates
from tui_tuner.planning.speed.speed_rates import Rates, describe_rates

FOUND = Rates(9e-6, 6.4e14, 3.0e12, 5.2e10, measured=True)


def test_what_is_kept_is_chosen_by_until_it_is_clearly_another(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rates.json"
    assert find_measured_rates("A card", path) is None
    assert keep_measured_rates("A card", FOUND, path) == FOUND == find_measured_rates("A card", path)
    near = dataclasses.replace(FOUND, launch=1e-5, memory=2.9e12)
    assert keep_measured_rates("A card", near, path) == FOUND == find_measured_rates("A card", path)
    other = dataclasses.replace(FOUND, launch=3e-5)
    assert keep_measured_rates("A card", other, path) == other == find_measured_rates("A card", path)
    assert keep_measured_rates("Another", FOUND, path) == FOUND
    assert find_measured_rates("A card", path) == other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"A card": 3}',
        '{"A card": {"launch": 1e-5}}',
        '{"A card": {"launch": -1, "products": 1, "memory": 1, "link": 1}}',
        '{"A card": {"launch": "NaN", "products": 1, "memory": 1, "link": 1}}',
        "\x00\xff",
    ],
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rates.json"
    path.write_bytes(text.encode("latin-1"))
    assert find_measured_rates("A card", path) is None
    assert keep_measured_rates("A card", FOUND, path) == FOUND == find_measured_rates("A card", path)


def test_where_the_disk_refuses_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert keep_measured_rates("A card", FOUND, tmp_path / "file" / "rates.json") == FOUND


def test_a_card_has_its_data_sheet_or_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    card = CARDS["H100"]
    assert add_rates_to_card(card, path) == card and not card.reached_rates.measured
    assert (
        card.reached_rates.products < card.tflops * 1e12 and card.reached_rates.memory < card.bandwidth * 1e9
    )
    keep_measured_rates(card.name, FOUND, path)
    assert add_rates_to_card(card, path).reached_rates == FOUND
    here = dataclasses.replace(card, cpu=True)
    assert add_rates_to_card(here, path) == here
    assert json.loads(path.read_text())["H100"]["launch"] == 9e-6
    assert "9.0 microseconds" in describe_rates(FOUND) and "640 TFLOP/s" in describe_rates(FOUND)


def test_the_probe_times_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from tui_tuner.training.tracing.launches import count_operator_launches
    from tui_tuner.training.watching import rates_probe

    state = torch.get_rng_state()
    found = rates_probe.measure_rates("cpu")
    assert found is not None and found.measured
    assert 1e-7 < found.launch < 1e-2 and min(found.products, found.memory, found.link) > 1e6
    assert torch.equal(torch.get_rng_state(), state), "no random number is taken from the run"

    class Counting(TorchDispatchMode):
        launches = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.launches += count_operator_launches(func)
            return func(*args, **(kwargs or {}))

    run = rates_probe.make_kernel_launcher(torch.device("cpu"))
    with Counting() as counting:
        run()
    assert counting.launches == pytest.approx(rates_probe.BLOCKS * rates_probe.PER_BLOCK, rel=0.05)

    def broken(*_unused: object, **_also: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "mm", broken)
    assert rates_probe.measure_rates("cpu") is None


def test_without_a_gpu_the_probe_of_one_says_nothing() -> None:
    import torch

    from tui_tuner.training.watching.rates_probe import measure_rates

    if not torch.cuda.is_available():
        assert measure_rates("cuda:0") is None
