"""Which sequences make a step, and how they are laid out."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tui_tuner.compute.forward import MicroSize, pack_rows, pad_groups
from tui_tuner.training.step.plan import StepPlan

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 400))
def test_packing_keeps_every_sequence_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths)
    bins = pack_rows(range(len(lengths)), array, MicroSize(1, budget))
    assert sorted(row for group in bins for row in group) == list(range(len(lengths)))
    for group in bins:
        assert len(group) == 1 or int(array[group].sum()) <= budget


@given(LENGTHS)
def test_packing_does_not_depend_on_the_order_of_rows(lengths: list[int]) -> None:
    array = np.array(lengths)
    size = MicroSize(1, 300)
    assert pack_rows(range(len(lengths)), array, size) == pack_rows(
        list(range(len(lengths)))[::-1], array, size
    )


def test_packing_fills_rows() -> None:
    lengths = np.array([60, 50, 40, 30, 20])
    bins = pack_rows(range(5), lengths, MicroSize(1, 100))
    assert sorted(int(lengths[group].sum()) for group in bins) == [100, 100]


def test_padded_groups_hold_sequences_of_similar_length() -> None:
    groups = pad_groups(range(5), np.array([3, 90, 5, 80, 4]), MicroSize(2, 0))
    assert groups == [[1, 3], [2, 4], [0]]


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5), st.integers(0, 100))
def test_each_epoch_has_every_row_once(rows: int, batch: int, epoch: int, seed: int) -> None:
    plan = StepPlan(np.full(rows, 4), batch, seed)
    steps = [plan.find_batch(epoch, step) for step in range(plan.steps_per_epoch)]
    assert sorted(row for step in steps for row in step) == list(range(rows))
    assert all(len(step) == batch for step in steps[:-1])


def test_order_follows_from_seed_and_epoch_and_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other = StepPlan(np.full(40, 4), 8, 7), StepPlan(np.full(40, 4), 8, 7)
    other.find_batch(5, 0)
    assert one.find_batch(2, 3) == other.find_batch(2, 3)
    assert one.find_batch(0, 0) != one.find_batch(1, 0)
    assert StepPlan(np.full(40, 4), 8, 8).find_batch(2, 3) != one.find_batch(2, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@given(LENGTHS, st.integers(1, 5))
def test_devices_share_a_step_without_overlap(lengths: list[int], world: int) -> None:
    array = np.array(lengths)
    batch = list(range(len(lengths)))
    shares = [StepPlan(array, 8, 1, world, rank).find_share(batch) for rank in range(world)]
    assert sorted(row for share in shares for row in share) == batch
    loads = [int(array[share].sum()) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
