"""Whether a beginning that examples share may be computed once for a model at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from tui_tuner.compute.check_rows import LEAST_LABELS, thin_labels
from tui_tuner.compute.differences import Apart, checked_parameters, difference, gradient_of, gradient_share
from tui_tuner.compute.forward import ForwardWay, Rows
from tui_tuner.compute.rows.laying import fill_up
from tui_tuner.compute.self_check import Checker, Reference
from tui_tuner.compute.shared_prefix import Group, lay_groups
from tui_tuner.data.records import Example, next_token_labels
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.out_of_memory import is_out_of_memory


class Probe:
    """Rows for a check, whatever the data is like: the given ones, all with the first half of one of them."""

    def __init__(self, data: Rows, rows: Sequence[int]) -> None:
        self._rows = []
        long = [row for row in rows if data.lengths[row] >= 4]
        half = min((int(data.lengths[row]) for row in long), default=0) // 2
        head = data[long[0]].ids[:half] if long else np.zeros(0, dtype=np.int32)
        for row in long:
            example = data[row]
            ids = np.concatenate([head, example.ids[half:]])
            labels = next_token_labels(ids, np.arange(len(ids)) > half)
            most = max(LEAST_LABELS, int(data.trained_tokens[row]))  # as many logits as the check had before
            self._rows.append(thin_labels(Example(ids, labels, example.columns), most))
        self.lengths = np.array([len(example) for example in self._rows])
        self.trained_tokens = np.array([example.trained_tokens for example in self._rows])
        self.prefix = half

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        return self._rows[index]


def check_shared(checker: Checker, way: ForwardWay) -> str:
    """Why a shared beginning must not be computed once; empty if losses and gradients are those of the same
    examples alone.

    Raises:
        torch.OutOfMemoryError: the examples of the check do not fit.
    """
    probe = Probe(checker.data, checker.rows)
    if len(probe) < 2:
        return _("too few rows to try it on")
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
    )
    try:
        with evaluating(checker.model):
            return alone.tried(way, alone.references(way), partial(_compare, alone, probe))
    except Exception as error:  # a model that cannot be called like this keeps its plain flat rows
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _compare(alone: Checker, probe: Probe, way: ForwardWay, reference: Reference) -> Apart:
    """How far rows that share their beginning are from the truth, in the numbers that the way is given in."""
    truth = reference.truth
    micro = fill_up(lay_groups(probe, [Group(alone.rows, probe.prefix)]), way).to(alone.device)
    alone.count.expect(1)
    alone.count.begin()
    with torch.set_grad_enabled(bool(truth.gradient)):
        losses = alone.losses(alone.model, micro, replace(way, shared=True))
        gradient = gradient_of(losses, checked_parameters(alone.model)) if truth.gradient else []
    found = losses.detach().split([len(one) for one in truth.losses])
    return Apart(
        lambda: difference(found, truth.losses),
        lambda: gradient_share(gradient, truth.gradient) if truth.gradient else 0.0,
    )
