"""Which lengths rows may have on a GPU, what that costs, and how a step is dealt out to rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tui_tuner.compute.forward import MicroSize, pack_rows
from tui_tuner.compute.rows import row_dealer
from tui_tuner.compute.rows.row_dealer import deal_rows
from tui_tuner.compute.rows.row_sizes import (
    MOST_SIZES,
    choose_row_sizes,
    fills_rows,
    find_row_size,
    find_step_piece_size,
    measure_filler_waste,
    round_padded_length,
    round_row_size,
)
from tui_tuner.models.device import Device
from tui_tuner.training.step.plan import StepPlan

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("device", "fills"),
    [
        (Device("cpu"), False),
        (Device("cpu", cpu_bf16=True), False),
        (Device("cuda", capability=(7, 5)), True),
        (Device("cuda", capability=(9, 0)), True),
    ],
)
def test_rows_are_filled_on_gpus_alone(device: Device, fills: bool) -> None:
    assert fills_rows(device) is fills


@pytest.mark.parametrize(
    ("most", "usual", "sizes"),
    [
        (1, (), (1,)),
        (100, (), (64, 100)),
        (256, (), (64, 128, 192, 256)),
        (4096, (4000, 4000), (2048, 4096)),
        (3000, (900, 1000, 2900), (512, 960, 1024, 2944, 3000)),
        (8192, (4100, 4200), (2176, 4224, 5376, 6656, 8192)),
        (8192, (4100, 4200, 9000), (2176, 4224, 8192)),
    ],
)
def test_the_table_of_sizes(most: int, usual: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    assert choose_row_sizes(most, usual) == sizes


@PATIENT
@given(st.integers(1, 40_000), st.lists(st.integers(0, 50_000), max_size=40))
def test_sizes_are_few_and_of_whole_tiles_up_to_the_budget(most: int, usual: list[int]) -> None:
    sizes = choose_row_sizes(most, usual)
    assert list(sizes) == sorted(set(sizes)) and len(sizes) <= MOST_SIZES
    assert sizes[-1] == most and all(size % 64 == 0 for size in sizes[:-1])
    assert all(tokens <= find_row_size(tokens, sizes) <= most for tokens in usual if tokens <= most)
    assert find_row_size(most + 1, sizes) == most + 1  # a sequence beyond the budget stands alone, as it is


@pytest.mark.parametrize(
    ("batch", "sigma", "share"), [(16, 0.5, 0.03), (16, 0.8, 0.045), (16, 1.1, 0.06), (64, 0.8, 0.03)]
)
def test_what_sizes_cost_chats_of_log_normal_length(batch: int, sigma: float, share: float) -> None:
    drawn = np.random.default_rng(0).lognormal(np.log(280) - sigma**2 / 2, sigma, (2000, batch))
    steps = np.minimum(2048, 1 + drawn.astype(int)).sum(1)
    most = min(batch, 8) * 2048
    rows = [find_step_piece_size(int(step), most) for step in steps]
    sizes = choose_row_sizes(most, rows[:256])
    known, unknown = (
        measure_filler_waste(rows[256:], sizes),
        measure_filler_waste(rows[256:], choose_row_sizes(most)),
    )
    assert known < share < unknown < 0.13
    assert len({find_row_size(row, sizes) for row in rows}) <= MOST_SIZES


def test_the_chosen_sizes_are_the_best_there_are() -> None:
    from itertools import combinations

    usual = [130, 150, 300, 500, 520, 700, 1000]
    candidates = sorted({-(-tokens // 64) * 64 for tokens in usual})
    best = min(
        measure_filler_waste(usual, chosen)
        for chosen in combinations(candidates, 3)
        if chosen[-1] == candidates[-1]
    )
    sizes = choose_row_sizes(10_000, usual, 6)
    assert sizes[3] == 1024 and measure_filler_waste(usual, sizes[1:4]) == pytest.approx(best)


def test_lengths_without_a_set_are_round_and_have_room() -> None:
    assert [round_row_size(tokens) for tokens in (1, 63, 64, 2047, 2048, 4000)] == [
        64,
        64,
        128,
        2048,
        2176,
        4096,
    ]
    assert [round_padded_length(longest, 5000) for longest in (1, 16, 100, 700, 1025)] == [
        16,
        16,
        112,
        704,
        1152,
    ]
    assert round_padded_length(99, 100) == 100 and round_padded_length(120, 100) == 120
    assert find_step_piece_size(4000, 4096) == 4000 and find_step_piece_size(4500, 4096) == 2250


@PATIENT
@given(LENGTHS, st.integers(1, 400))
def test_dealing_keeps_every_sequence_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    array, size = np.array(lengths), MicroSize(1, budget)
    rows = deal_rows(range(len(lengths)), array, size)
    assert sorted(row for group in rows for row in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or int(array[group].sum()) <= budget for group in rows)
    assert len(rows) <= len(pack_rows(range(len(lengths)), array, size))
    assert rows == deal_rows(list(range(len(lengths)))[::-1], array, size)


def test_a_step_that_fits_is_one_row_and_others_are_cut_evenly() -> None:
    lengths = np.array([900, 40, 30, 20, 10, 500, 450, 50, 60, 70])
    assert len(deal_rows(range(10), lengths, MicroSize(1, int(lengths.sum())))) == 1
    cut = [int(lengths[row].sum()) for row in deal_rows(range(10), lengths, MicroSize(1, 1500))]
    full = [int(lengths[row].sum()) for row in pack_rows(range(10), lengths, MicroSize(1, 1500))]
    assert len(cut) == len(full) == 2
    assert max(cut) - min(cut) < 100 < max(full) - min(full)


def test_thousands_of_long_sequences_are_dealt_in_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out rows of more than half the budget: nearly each needs a row of its own."""
    lengths = np.linspace(1025, 2048, 2000).astype(int)
    tries: list[int] = []
    inner = row_dealer._deal_longest_first

    def counting(rows: Sequence[int], lengths: np.ndarray, count: int) -> list[list[int]]:
        tries.append(count)
        return inner(rows, lengths, count)

    monkeypatch.setattr(row_dealer, "_deal_longest_first", counting)
    assert len(deal_rows(range(2000), lengths, MicroSize(1, 2048))) == 2000
    assert len(tries) <= 12


def test_a_plan_tells_how_many_tokens_its_steps_have() -> None:
    lengths = np.arange(1, 11)
    plan = StepPlan(lengths, 4, seed=0)
    found = plan.tokens_of_steps(256)
    assert len(found) == 3 and sum(found) == 55
    assert found == [int(lengths[plan.find_batch(0, step)].sum()) for step in range(3)]
    assert plan.tokens_of_steps(2) == found[:2]
    shares = [StepPlan(lengths, 4, 0, 2, rank).tokens_of_steps(3) for rank in (0, 1)]
    assert [one + other for one, other in zip(*shares, strict=True)] == found
