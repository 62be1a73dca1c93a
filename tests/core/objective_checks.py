"""What every objective must hold: subclass `ObjectiveChecks` and give it a plain computation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tui_tuner.compute.forward import MicroSize, Rows
from tui_tuner.objectives.objective import Objective


class ObjectiveChecks:
    """Loss and gradients of a step are those of a plain computation, however it is split."""

    def make(self) -> tuple[Objective, Any, Rows]:
        """An objective with its way set, a model in training mode without dropout, and rows."""
        raise NotImplementedError

    def plain(self, model: Any, data: Rows, rows: list[int]) -> torch.Tensor:
        """The loss of an optimizer step of these rows, as a reader of the paper would write it down."""
        raise NotImplementedError

    @pytest.mark.parametrize("size", [MicroSize(100, 10_000), MicroSize(2, 60), MicroSize(1, 1)])
    def test_loss_and_gradients_are_the_plain_ones(self, size: MicroSize) -> None:
        objective, model, data = self.make()
        rows = list(range(len(data)))
        expected = self.plain(model, data, rows)
        expected.backward()
        wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        weight = objective.count_weight(data, rows)
        parts = objective.lay_batches(data, rows, size)
        assert sorted(row for part in parts for row in part.rows) == rows
        total = torch.zeros(())
        for part in parts:
            if objective.count_weight(data, part.rows):
                with objective.wrap_pass(part):
                    loss = objective.sum_losses(model, part) / weight
                    loss.backward()
                total += loss.detach()
        torch.testing.assert_close(total, expected.detach(), atol=1e-5, rtol=1e-5)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert set(found) == set(wanted)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)

    def test_the_losses_sum_to_the_loss(self) -> None:
        objective, model, data = self.make()
        with torch.no_grad():
            micro = objective.lay_batch(data, list(range(len(data))))
            losses = objective.compute_losses(model, micro, objective.way)
            torch.testing.assert_close(losses.sum(), objective.sum_losses(model, micro), atol=1e-4, rtol=1e-5)

    def test_an_evaluation_adds_up_over_micro_batches(self) -> None:
        objective, model, data = self.make()
        rows = list(range(len(data)))
        weight = objective.count_weight(data, rows)
        found = []
        with torch.no_grad():
            for size in (MicroSize(100, 10_000), MicroSize(2, 60)):
                sums: dict[str, Any] = {}
                for group in objective.group_rows(data, rows, size):
                    if objective.count_weight(data, group):
                        measured = objective.measure_batch(
                            model, objective.lay_batch(data, group, training=False)
                        )
                        each = measured.pop("each", None)
                        if each is not None:  # the losses of which one of them is the sum
                            assert float(each.losses.sum()) == pytest.approx(float(measured["loss"]), 1e-5)
                        sums = {name: sums.get(name, 0) + value for name, value in measured.items()}
                numbers = {name: value.tolist() for name, value in sums.items()}
                found.append(objective.summarise_sums(numbers, weight))
        assert found[0] == pytest.approx(found[1], rel=1e-5)
        assert found[0]["loss"] == pytest.approx(float(self.plain(model, data, rows).detach()), abs=1e-4)
