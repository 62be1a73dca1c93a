"""Evaluate the model on held-out rows: the figures of its objective, and the answers its task shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from tui_tuner.compute.forward import MicroBatch, MicroSize, Rows
from tui_tuner.evaluation import samples as showing
from tui_tuner.evaluation.samples import SampleReport, SampleSource, Stage
from tui_tuner.locales import _
from tui_tuner.objectives.objective import EvaluationResult, ExampleValues, Objective, SingleLosses
from tui_tuner.objectives.row_losses import RowLossCollector, RowSums, sum_losses_by_row
from tui_tuner.runs.events import Evaluation, OutOfMemory, Sample
from tui_tuner.training.keeping.progress import Progress, choose_evaluation_size
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter


class EvaluationInterrupt(Exception):
    """Raised when a stop is requested during an evaluation; figures measured so far are not reported."""


class Evaluator:
    """Evaluates one model on one set of held-out rows.

    Args:
        objective: Prepared for the run.
        rows: Held-out rows; without them nothing is measured.
        samples: Source of answers; without it none are shown.
        progress: Remembers how many rows fit into memory at once.
        interrupted: Polled during an evaluation; true ends it.
        scores_answers: Whether answers are generated and scored at each evaluation, as one of their metrics
            decides which checkpoint is best.
    """

    def __init__(
        self,
        reporter: Reporter,
        recovery: Recovery,
        device: Any,
        objective: Objective,
        rows: Rows | None,
        samples: SampleSource | None,
        progress: Progress,
        interrupted: Callable[[], bool] = lambda: False,
        scores_answers: bool = False,
    ) -> None:
        self.reporter = reporter
        self.recovery = recovery
        self.device = device
        self.objective = objective
        self.rows = None if rows is None else objective.read_rows(rows, None)
        self.samples = samples
        self.progress = progress
        self.interrupted = interrupted
        self.scores_answers = scores_answers

    def evaluate_held_out(self, model: Any, size: MicroSize, step: int) -> EvaluationResult | None:
        """Measure the objective over all held-out rows; None without rows, or without memory for them.

        The model's mode (training or evaluation) is restored. If memory runs out, fewer rows are computed at
        once from then on, also in later evaluations and in a resumed run.

        Args:
            size: The micro-batch of training.

        Raises:
            EvaluationInterrupt: a stop was requested meanwhile.
        """
        import torch

        if self.rows is None or not len(self.rows):
            return None
        weight = self.objective.count_weight(self.rows, range(len(self.rows)))
        if not weight:
            return None
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                sums = self._sum_figures(model, choose_evaluation_size(self.progress, size), step)
        finally:
            model.train(training)
        if sums is None:
            return None
        each = sums.pop("each", ())
        judged = replace(self.objective.judge_evaluation(self.rows, sums, weight), rows=each)
        # Before the first step, answers are scored together with the samples (`show_samples`)
        if self.scores_answers and step:
            judged = replace(judged, metrics={**judged.metrics, **self._score_answers(model, step)})
        return judged

    def _score_answers(self, model: Any, step: int) -> dict[str, float]:
        """Return metrics of the answers to held-out rows; empty if memory ran out."""
        report = self._generate_report(
            lambda source, progress: source.score_answers(model, progress), "during", step
        )
        return dict(report.metrics) if report is not None else {}

    def _sum_figures(self, model: Any, size: MicroSize, step: int) -> dict[str, Any] | None:
        """Add up the figures of the objective; None without memory for a single row."""
        assert self.rows is not None
        total, done = len(self.rows), 0
        self.reporter.report_phase("evaluating", 0, total, unit="rows")
        # Sums stay on the device and are read once at the end: each read waits for all work queued there.
        sums: dict[str, Any] = {}
        each: dict[str, list[Any]] = {}
        losses = RowLossCollector(self.rows)
        begun = size
        todo = self.objective.group_rows(self.rows, range(total), size)
        lay = self.objective.held_out_layer(self.rows, todo, size)
        while todo:
            if self.interrupted():
                raise EvaluationInterrupt
            rows = todo[0]
            try:
                self.recovery.enter_place("evaluation", rows)
                measured = self._measure_parts(model, rows, lay)
            except Exception as error:
                if not self.recovery.is_out_of_memory(error):
                    raise
                self.recovery.free(error)
                # A single row does not fit, so smaller groups cannot help.
                if len(rows) == 1:
                    self._leave_out(rows[0], step)
                    return None
                size = self._halve_size(rows, size)
                # Only rows that are not measured yet are regrouped, so none counts twice.
                todo = self.objective.group_rows(self.rows, [row for group in todo for row in group], size)
                lay = self.objective.held_out_layer(self.rows, todo, size)
                continue
            # Reported when a group has fitted, rather than for each halving on the way there.
            if size != begun:
                self.recovery.announce_smaller("evaluation", step, begun, size)
                begun, self.progress.evaluated = size, [size.sequences, size.tokens]
            for name, value in measured.items():
                if isinstance(value, RowSums):
                    losses.add_part(value)
                elif isinstance(value, ExampleValues):
                    kept = each.setdefault(name, [None] * total)
                    for row, one in zip(rows, value.values, strict=True):
                        kept[row] = one.cpu().numpy()
                else:
                    sums[name] = sums[name] + value if name in sums else value
            todo.pop(0)
            done += len(rows)
            self.reporter.report_phase("evaluating", done, total, unit="rows")
        return {name: value.tolist() for name, value in sums.items()} | each | {"each": losses.read_losses()}

    def _measure_parts(
        self, model: Any, rows: list[int], lay: Callable[[Sequence[int]], MicroBatch]
    ) -> dict[str, Any]:
        assert self.rows is not None
        if not self.objective.count_weight(self.rows, rows):
            return {}
        micro = lay(rows).to(self.device)
        measured = self.objective.measure_batch(model, micro)
        found = measured.pop("each", None)
        if isinstance(found, SingleLosses):
            sums = sum_losses_by_row(found.losses, micro.rows, self.rows)
            measured |= {} if sums is None else {"each": sums}
        return measured

    def _halve_size(self, rows: list[int], size: MicroSize) -> MicroSize:
        """Return half the size of these rows."""
        assert self.rows is not None
        # The limit may allow far more than these rows have: half of it might leave the group as it is.
        tokens = sum(int(self.rows.lengths[row]) for row in rows)
        return MicroSize(min(size.sequences, len(rows)), min(size.tokens, tokens)).halve_size()

    def _leave_out(self, row: int, step: int) -> None:
        """Warn that this evaluation is skipped, because one held-out sequence alone does not fit."""
        assert self.rows is not None
        self.reporter.report_warning(
            "evaluation_left_out",
            _(
                "Memory ran out in the evaluation at step {step} with a single sequence of {tokens:,} "
                "tokens, so this evaluation is skipped. Training continues.",
                step=step,
                tokens=int(self.rows.lengths[row]),
            ),
            _("Lower data.max_length in a new run, or hold other rows out (data.validation)."),
        )

    def show_samples(self, model: Any, step: int, stage: Stage) -> None:
        """Show the model's answers to the sample rows; before and after training, score held-out rows too.

        If memory runs out, this is skipped with an event in the journal.

        Raises:
            EvaluationInterrupt: a stop was requested meanwhile.
        """
        report = self._generate_report(
            lambda source, progress: source.collect_samples(model, stage, progress), stage, step
        )
        if report is not None:
            self._report_samples(report, step, stage)

    def _generate_report(
        self,
        ask: Callable[[SampleSource, showing.Progress], SampleReport | None],
        stage: Stage,
        step: int,
    ) -> SampleReport | None:
        """Let the model answer; None if there is nothing to ask, or no memory for it."""
        if self.samples is None:
            return None
        try:
            self.recovery.enter_place("generation")
            with self.objective.showing_context():
                return ask(self.samples, self._progress_of(stage, step))
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free(error)
            message = _("Memory ran out while answering prompts at step {step}; they are skipped.", step=step)
            self.reporter.emit(OutOfMemory(step, "generation", (1, 0), message))
            return None

    def _progress_of(self, stage: Stage, step: int) -> showing.Progress:
        when = {"before": _("before training"), "after": _("after training")}
        named = when.get(stage, _("at step {step}", step=step))

        def say(done: int, total: int, note: str = "") -> None:
            said = _("{when}, {what}", when=named, what=note) if note else named
            self.reporter.report_phase("sampling", done, total, said, "prompts")
            if self.interrupted():
                raise EvaluationInterrupt

        return say

    def _report_samples(self, report: SampleReport, step: int, stage: Stage) -> None:
        for note in report.notes:
            self.reporter.report_log(_("Prompts at step {step}: {note}.", step=step, note=note))
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
            signed = dict(report.signatures) or None
            self.reporter.emit(
                Evaluation(step, stage, dict(report.metrics), rows=report.rows, signatures=signed)
            )
