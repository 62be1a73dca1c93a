"""How the model does on rows it never trains on: what its objective measures, and what its task shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from tui_tuner.compute.forward import MicroBatch, MicroSize, Rows
from tui_tuner.evaluation import samples as showing
from tui_tuner.evaluation.samples import SampleReport, Samples, Stage
from tui_tuner.locales import _
from tui_tuner.objectives.base import EachExample, EachLoss, Judged, Objective
from tui_tuner.objectives.row_losses import RowLosses, RowSums, sum_by_row
from tui_tuner.runs.events import Evaluation, OutOfMemory, Sample
from tui_tuner.training.keeping.progress import Progress, evaluation_size
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter


class Interrupted(Exception):
    """A stop was asked for in the middle of an evaluation; what was measured so far is not reported."""


class Evaluator:
    """Evaluates one model on one set of held-out rows.

    Args:
        rows: What is measured on; None for nothing.
        samples: What is shown; None for nothing.
        progress: Keeps how much can be computed at once.
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
        progress: Progress,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.reporter = reporter
        self.recovery = recovery
        self.device = device
        self.objective = objective
        self.rows = rows
        self.samples = samples
        self.progress = progress
        self.interrupted = interrupted

    def validation(self, model: Any, size: MicroSize, step: int) -> Judged | None:
        """What the objective measures over all held-out rows; None without any, or without memory for them.

        The model is left in the mode it was in. Where memory runs out, less is computed at once from then on,
        also in later evaluations and by whoever resumes the run.

        Args:
            size: The micro-batch of training.

        Raises:
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
                sums = self._sums(model, evaluation_size(self.progress, size), step)
        finally:
            model.train(training)
        if sums is None:
            return None
        each = sums.pop("each", ())
        return replace(self.objective.judge(self.rows, sums, weight), rows=each)

    def _sums(self, model: Any, size: MicroSize, step: int) -> dict[str, Any] | None:
        """What the objective measures, added up; read from the device once. None without memory for it."""
        assert self.rows is not None
        total, done = len(self.rows), 0
        self.reporter.phase("evaluating", 0, total, unit="rows")
        sums: dict[str, Any] = {}
        each: dict[str, list[Any]] = {}
        losses = RowLosses(self.rows)
        begun = size
        todo = self.objective.groups(self.rows, range(total), size)
        lay = self.objective.held_out(self.rows, todo, size)
        while todo:
            if self.interrupted():
                raise Interrupted
            rows = todo[0]
            try:
                self.recovery.enter("evaluation", rows)
                measured = self._measure(model, rows, lay)
            except Exception as error:
                if not self.recovery.is_out_of_memory(error):
                    raise
                self.recovery.free(error)
                if len(rows) == 1:
                    self._leave_out(rows[0], step)
                    return None
                size = self._smaller(rows, size)
                todo = self.objective.groups(self.rows, [row for group in todo for row in group], size)
                lay = self.objective.held_out(self.rows, todo, size)
                continue
            if size != begun:  # said once what is enough is known, and not for each group
                self.recovery.announce("evaluation", step, begun, size)
                begun, self.progress.evaluated = size, [size.sequences, size.tokens]
            for name, value in measured.items():
                if isinstance(value, RowSums):
                    losses.add(value)
                elif isinstance(value, EachExample):
                    kept = each.setdefault(name, [None] * total)
                    for row, one in zip(rows, value.values, strict=True):
                        kept[row] = one.cpu().numpy()
                else:
                    sums[name] = sums[name] + value if name in sums else value
            todo.pop(0)
            done += len(rows)
            self.reporter.phase("evaluating", done, total, unit="rows")
        return {name: value.tolist() for name, value in sums.items()} | each | {"each": losses.read()}

    def _measure(
        self, model: Any, rows: list[int], lay: Callable[[Sequence[int]], MicroBatch]
    ) -> dict[str, Any]:
        assert self.rows is not None
        if not self.objective.weight(self.rows, rows):
            return {}
        micro = lay(rows).to(self.device)
        measured = self.objective.measure(model, micro)
        found = measured.pop("each", None)
        if isinstance(found, EachLoss):
            sums = sum_by_row(found.losses, micro.rows, self.rows)
            measured |= {} if sums is None else {"each": sums}
        return measured

    def _smaller(self, rows: list[int], size: MicroSize) -> MicroSize:
        """Half of what these rows are, so that they are taken apart: the size may allow for far more."""
        assert self.rows is not None
        tokens = sum(int(self.rows.lengths[row]) for row in rows)
        return MicroSize(min(size.sequences, len(rows)), min(size.tokens, tokens)).halved()

    def _leave_out(self, row: int, step: int) -> None:
        """Say that this evaluation is left out, as one held-out sequence alone does not fit."""
        assert self.rows is not None
        self.reporter.warn(
            "evaluation_left_out",
            _(
                "Memory ran out in the evaluation at step {step} with a single sequence of {tokens:,} "
                "tokens, so it is left out. Training goes on.",
                step=step,
                tokens=int(self.rows.lengths[row]),
            ),
            _("Lower data.max_length in a new run, or hold other rows out (data.validation)."),
        )

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
            with self.objective.showing():
                report = self.samples.collect(model, stage, self._progress_of(stage, step))
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free(error)
            message = _(
                "Memory ran out while answering prompts at step {step}; they are left out.", step=step
            )
            self.reporter.emit(OutOfMemory(step, "generation", (1, 0), message))
            return
        if report is not None:
            self._tell(report, step, stage)

    def _progress_of(self, stage: Stage, step: int) -> showing.Progress:
        when = {"before": _("before training"), "after": _("after training")}
        named = when.get(stage, _("at step {step}", step=step))

        def say(done: int, total: int, note: str = "") -> None:
            said = _("{when}, {what}", when=named, what=note) if note else named
            self.reporter.phase("sampling", done, total, said, "prompts")
            if self.interrupted():
                raise Interrupted

        return say

    def _tell(self, report: SampleReport, step: int, stage: Stage) -> None:
        for note in report.notes:
            self.reporter.log(_("Prompts at step {step}: {note}.", step=step, note=note))
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
                    passage=sample.passage,
                    found=[asdict(span) for span in sample.found],
                    wanted=[asdict(span) for span in sample.wanted],
                    scores=[list(choice) for choice in sample.scores],
                )
            )
        if report.rows:
            self.reporter.emit(Evaluation(step, stage, dict(report.metrics), rows=report.rows))
