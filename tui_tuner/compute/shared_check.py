"""The test that a shared prefix may be computed once for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from tui_tuner.compute.check_rows import LEAST_LABELS, thin_check_labels
from tui_tuner.compute.differences import (
    Difference,
    compute_gradient,
    find_checked_parameters,
    measure_gradient_share,
    measure_loss_difference,
)
from tui_tuner.compute.forward import ForwardWay, Rows
from tui_tuner.compute.rows.row_layout import fill_flat_row
from tui_tuner.compute.self_check import Checker, Reference
from tui_tuner.compute.shared_prefix import PrefixGroup, lay_prefix_groups
from tui_tuner.data.records import Example, make_next_token_labels
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import is_out_of_memory


class SharedProbe:
    """Rows for a check that share a prefix: the given ones, all with the first half of the first one."""

    def __init__(self, data: Rows, rows: Sequence[int]) -> None:
        self._rows = []
        long = [row for row in rows if data.lengths[row] >= 4]
        half = min((int(data.lengths[row]) for row in long), default=0) // 2
        head = data[long[0]].ids[:half] if long else np.zeros(0, dtype=np.int32)
        for row in long:
            example = data[row]
            ids = np.concatenate([head, example.ids[half:]])
            labels = make_next_token_labels(ids, np.arange(len(ids)) > half)
            # No more logits than the check had before, for which memory is enough.
            most = max(LEAST_LABELS, int(data.trained_tokens[row]))
            self._rows.append(thin_check_labels(Example(ids, labels, example.columns), most))
        self.lengths = np.array([len(example) for example in self._rows])
        self.trained_tokens = np.array([example.trained_tokens for example in self._rows])
        self.prefix = half

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        return self._rows[index]


def check_shared(checker: Checker, way: ForwardWay) -> str:
    """Explain why a shared prefix must not be computed once; empty if that is exact for these examples.

    Raises:
        torch.OutOfMemoryError: the examples of the check do not fit.
    """
    probe = SharedProbe(checker.data, checker.rows)
    if len(probe) < 2:
        return _("there are too few rows to test it")
    alone = Checker(
        checker.model,
        probe,
        range(len(probe)),
        checker.device,
        checker.pad,
        checker.losses,
        checker.plain,
        graded=len(probe),
        float32=checker.float32,
        count=checker.count,
        laying=checker.laying,
    )
    try:
        with use_evaluation_mode(checker.model):
            return alone.try_way(way, alone.list_references(way), partial(_compare_shared, alone, probe))
    except Exception as error:  # a model that cannot be called like this keeps plain flat rows
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _compare_shared(alone: Checker, probe: SharedProbe, way: ForwardWay, reference: Reference) -> Difference:
    """Measure the difference of rows with a shared prefix from the truth, in the dtype of the way."""
    truth = reference.truth
    micro = fill_flat_row(lay_prefix_groups(probe, [PrefixGroup(alone.rows, probe.prefix)]), way).to(
        alone.device
    )
    alone.count.expect_passes(1)
    alone.count.begin_pass()
    with torch.set_grad_enabled(bool(truth.gradient)):
        losses = alone.losses(alone.model, micro, replace(way, shared=True))
        gradient = compute_gradient(losses, find_checked_parameters(alone.model)) if truth.gradient else []
    found = losses.detach().split([len(one) for one in truth.losses])
    return Difference(
        lambda: measure_loss_difference(found, truth.losses),
        lambda: measure_gradient_share(gradient, truth.gradient) if truth.gradient else 0.0,
    )
