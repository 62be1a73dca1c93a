"""Measurements of this machine."""

from __future__ import annotations

import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.calibration import (
    KEPT,
    MeasuredPeaks,
    calibrate_card,
    compare_peaks,
    read_learned,
    record_peaks,
)
from tui_tuner.planning.estimate import estimate_memory
from tui_tuner.planning.gpus import CARDS


@pytest.fixture(scope="module")
def predicted():
    facts = read_config_facts(find_catalog_config("Qwen/Qwen3-0.6B"))
    return estimate_memory(RunConfig.model_validate({"training": {"micro_batch": 1}}), facts=facts)


def test_what_was_measured_is_learned(tmp_path, predicted):
    path = tmp_path / "deep" / "memory.jsonl"
    assert read_learned("A100", path) is None
    for factor in (1.01, 1.02, 1.03):
        allocated = predicted.allocated * factor
        assert record_peaks(
            "A100", predicted, MeasuredPeaks(allocated, allocated * 1.1, allocated * 1.1 + 0.5), path
        )
    record_peaks("T4", predicted, MeasuredPeaks(1.0, 2.0, 4.0), path)
    found = read_learned("A100", path)
    assert found.runs == 3
    assert found.context == pytest.approx(0.5)
    assert found.residual == pytest.approx(0.1)
    assert found.error == pytest.approx(0.02)
    assert compare_peaks(predicted, MeasuredPeaks(predicted.allocated * 1.05, 0, 0)) == pytest.approx(0.05)


def test_damage_and_refusal_do_no_harm(tmp_path, predicted):
    path = tmp_path / "memory.jsonl"
    path.write_text('nonsense\n{"gpu": "A100"}\n[1]\n{"gpu":"A100","allocated_gib":0,"reserved_gib":1}\n')
    assert read_learned("A100", path) is None
    assert record_peaks("A100", predicted, MeasuredPeaks(1, 1, 1), path)
    assert read_learned("A100", path).runs == 1
    assert record_peaks("A100", predicted, MeasuredPeaks(1, 1, 1), path / "below" / "a-file") is False


def test_only_the_newest_are_kept(tmp_path, predicted):
    path = tmp_path / "memory.jsonl"
    path.write_text("old\n" * (KEPT + 50))
    record_peaks("A100", predicted, MeasuredPeaks(1, 1, 1), path)
    assert len(path.read_text().splitlines()) == KEPT


def test_later_estimates_take_what_was_learned_and_say_so(tmp_path, predicted):
    path = tmp_path / "memory.jsonl"
    card = CARDS["RTX 4090"]
    assert calibrate_card(card, path) is card
    allocated = predicted.allocated * 1.05
    for _ in range(2):
        record_peaks(
            card.name, predicted, MeasuredPeaks(allocated, allocated * 1.2, allocated * 1.2 + 0.9), path
        )
    facts, config = read_config_facts(find_catalog_config("Qwen/Qwen3-0.6B")), RunConfig()
    before, after = (
        estimate_memory(config, facts=facts, card=one) for one in (card, calibrate_card(card, path))
    )
    assert after.allocated == before.allocated
    assert after.reserved == pytest.approx(after.allocated * 1.2, abs=0.003)
    assert after.device - after.reserved == pytest.approx(0.9)
    assert after.band == pytest.approx(0.05)
    assert "0.90 GiB" in after.notes[0] and "2 runs here" in after.notes[0] and "+5.0%" in after.notes[0]
    assert sum(row.gib for row in after.rows) == pytest.approx(after.device)
    assert not before.notes


def test_small_runs_teach_no_share_and_absurd_ones_nothing(tmp_path, predicted):
    path = tmp_path / "memory.jsonl"
    record_peaks("T4", predicted, MeasuredPeaks(0.1, 0.3, 0.5), path)
    assert read_learned("T4", path).residual is None and read_learned("T4", path).context == pytest.approx(
        0.2
    )
    for wrong in (
        MeasuredPeaks(2.0, 2.1, 60.0),
        MeasuredPeaks(2.0, 2.1, 1.0),
        MeasuredPeaks(2.0, float("nan"), 3.0),
    ):
        record_peaks("L4", predicted, wrong, path)
    assert read_learned("L4", path) is None
    assert calibrate_card(CARDS["L4"], path) is CARDS["L4"]


def test_what_is_outside_of_the_allocator_is_taken_from_what_it_holds_now(tmp_path, predicted):
    """The cache may have been given back since its peak; older lines have no figure of their own."""
    path = tmp_path / "memory.jsonl"
    measured = MeasuredPeaks(10.0, 12.0, 9.5, held=9.0)
    assert measured.allocator_cache == pytest.approx(2.0) and measured.process_context == pytest.approx(0.5)
    record_peaks("H100", predicted, measured, path)
    assert read_learned("H100", path).context == pytest.approx(0.5)
    older = '{"gpu": "old", "predicted_gib": 1, "allocated_gib": 2, "reserved_gib": 3, "device_gib": 3.25}'
    path.write_text(older)
    assert read_learned("old", path).context == pytest.approx(0.25)
    assert read_learned("old", path).residual == pytest.approx(0.5)
