"""How the model does on rows it never trains on: what its objective measures, and what its task shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.compute.forward import MicroSize, Rows
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.evaluation.samples import SampleReport, Samples, Stage
from tui_tuner.locales import _
from tui_tuner.objectives.base import Objective
from tui_tuner.runs.events import Evaluation, OutOfMemory, Sample
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter


class Interrupted(Exception):
    """A stop was asked for in the middle of an evaluation; what was measured so far is not reported."""


class Evaluator:
    """Evaluates one model on one set of held-out rows.

    Args:
        rows: What is measured on; None for nothing.
        samples: What is shown; None for nothing.
        interrupted: Whether to give up.
    """

    def __init__(
        self,
        reporter: Reporter,
        recovery: Recovery,
        device: Any,
        objective: Objective,
        rows: Rows | None,
        samples: Samples | None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.reporter = reporter
        self.recovery = recovery
        self.device = device
        self.objective = objective
        self.rows = rows
        self.samples = samples
        self.interrupted = interrupted

    def validation(self, model: Any, size: MicroSize, step: int) -> dict[str, float] | None:
        """What the objective measures over all held-out rows; None without any.

        The model is left in the mode it was in.

        Raises:
            OutOfMemoryError: one example alone does not fit.
            Interrupted: a stop was asked for meanwhile.
        """
        import torch

        if self.rows is None or not len(self.rows):
            return None
        weight = self.objective.weight(self.rows, range(len(self.rows)))
        if not weight:
            return None
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                sums = self._sums(model, size, step)
        finally:
            model.train(training)
        return self.objective.summarise(sums, weight)

    def _sums(self, model: Any, size: MicroSize, step: int) -> dict[str, Any]:
        """What the objective measures, added up; read from the device once."""
        assert self.rows is not None
        total = len(self.rows)
        sums: dict[str, Any] = {}
        todo = self.objective.groups(self.rows, range(total), size)
        done = 0
        while todo:
            if self.interrupted():
                raise Interrupted
            rows = todo.pop(0)
            try:
                self.recovery.enter("evaluation", rows)
                measured = self._measure(model, rows)
            except Exception as error:
                if not self.recovery.is_out_of_memory(error):
                    raise
                todo[:0] = self._smaller(rows, step, size)
                self.recovery.free()
                continue
            for name, value in measured.items():
                sums[name] = sums[name] + value if name in sums else value
            done += len(rows)
            self.reporter.phase("evaluating", done, total)
        return {name: value.tolist() for name, value in sums.items()}

    def _measure(self, model: Any, rows: list[int]) -> dict[str, Any]:
        assert self.rows is not None
        if not self.objective.weight(self.rows, rows):
            return {}
        micro = self.objective.lay(self.rows, rows, training=False).to(self.device)
        return self.objective.measure(model, micro)

    def _smaller(self, rows: list[int], step: int, size: MicroSize) -> list[list[int]]:
        """The same rows in smaller forward passes.

        Raises:
            OutOfMemoryError: they cannot be taken apart.
        """
        assert self.rows is not None
        tokens = sum(int(self.rows.lengths[row]) for row in rows)
        smaller = MicroSize(max(1, len(rows) // 2), max(1, tokens // 2))
        parts = self.objective.groups(self.rows, rows, smaller)
        if len(parts) == 1:
            raise OutOfMemoryError(
                _("memory ran out in the evaluation at step {step} with a single sequence.", step=step),
                hint=_("Lower data.max_length."),
            )
        self.recovery.announce("evaluation", step, size, size.halved())
        return parts

    def answer(self, model: Any, step: int, stage: Stage) -> None:
        """Show what the model makes of the sample rows, and score held-out rows before and after.

        Without memory for it, this is left out and the journal says so.

        Raises:
            Interrupted: a stop was asked for meanwhile.
        """
        if self.samples is None:
            return
        try:
            self.recovery.enter("generation")
            with self.objective.computing():
                report = self.samples.collect(model, stage, self._progress)
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free()
            message = _(
                "Memory ran out while answering prompts at step {step}; they are left out.", step=step
            )
            self.reporter.emit(OutOfMemory(step, "generation", (1, 0), message))
            return
        if report is not None:
            self._tell(report, step, stage)

    def _progress(self, done: int, total: int) -> None:
        self.reporter.phase("sampling", done, total)
        if self.interrupted():
            raise Interrupted

    def _tell(self, report: SampleReport, step: int, stage: Stage) -> None:
        for index, sample in enumerate(report.shown):
            self.reporter.emit(
                Sample(
                    step=step,
                    index=index,
                    stage=stage,
                    prompt=sample.prompt,
                    text=sample.text,
                    reference=sample.reference,
                    stopped=sample.stopped,
                )
            )
        if report.rows:
            self.reporter.emit(Evaluation(step, stage, dict(report.metrics), rows=report.rows))
