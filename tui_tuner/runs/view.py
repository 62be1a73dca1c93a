"""Build `RunView`, the current state of a run, from its events. Screens and printers read nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.config.deciding import find_best_step, is_deciding_higher_better, name_deciding_metric
from tui_tuner.config.metrics import rename_metrics
from tui_tuner.runs import pace
from tui_tuner.runs.events import (
    Bottleneck,
    CheckpointSaved,
    Evaluation,
    EvaluationTable,
    Event,
    EventBody,
    Finished,
    Heartbeat,
    HeldOutRows,
    Kernels,
    Memory,
    ModelSource,
    Phase,
    Resolved,
    RolledBack,
    RowLedger,
    RunDuration,
    RunStarted,
    Sample,
    Step,
    Verdict,
)
from tui_tuner.runs.phases.progress import PhaseProgress
from tui_tuner.runs.phases.time_by_phase import PhaseClock, TimeByPhase

NOTHING_BETWEEN = pace.PauseMeter()
NO_PROGRESS = PhaseProgress()
NO_TIME = TimeByPhase()


@dataclass(frozen=True)
class RunView:
    """The current state of a run, immutable; `fold_view_events` returns the next one.

    `status`: new, running, paused, completed, stopped or failed.
    """

    run: str = ""
    status: str = "new"
    config: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0
    last_time: float = 0.0
    phase: str = ""
    progress: PhaseProgress = NO_PROGRESS  # of the phase
    spent: TimeByPhase = NO_TIME  # time by phase
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    steps: tuple[Step, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)  # {name: {label, higher_is_better}}: the task's
    evaluations: tuple[Evaluation, ...] = ()
    tables: tuple[EvaluationTable, ...] = ()  # of the first, the best and the newest evaluation
    samples: tuple[Sample, ...] = ()
    resolved: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    ledger: RowLedger | None = None
    checkpoints: tuple[CheckpointSaved, ...] = ()
    resumes: int = 0
    exit_code: int | None = None
    message: str = ""
    hint: str = ""
    field: str = ""  # config field that caused a failure
    advice: str = ""  # the hint for a screen
    fixes: tuple[Mapping[str, Any], ...] = ()  # the changes that the hint offers: each {field: value}
    rows_seen: bool = False  # the failure is about rows that were read, not about their file
    host_memory: int = 0
    memories: tuple[tuple[int, int], ...] = ()  # (step, resident bytes of the process), from heartbeats
    memory: Memory | None = None
    sources: tuple[ModelSource, ...] = ()  # of the newest process
    duration: RunDuration | None = None  # the newest
    planned: RunDuration | None = None  # estimate from before the first step
    kernels: tuple[Mapping[str, Any], ...] = ()  # of the newest process: {part, kernel, why, layers} each
    bottleneck: Bottleneck | None = None  # of the newest process; None if there is none
    between: pace.PauseMeter = NOTHING_BETWEEN  # time outside of steps
    verdict: Verdict | None = None  # the newest of the newest process
    held_out: tuple[HeldOutRows, ...] = ()  # of the first, the best and the newest evaluation

    @property
    def verdict_name(self) -> str:
        """Return the name of the newest verdict; empty if there is none."""
        return self.verdict.verdict if self.verdict is not None else ""

    @property
    def has_ended(self) -> bool:
        return self.status in ("completed", "stopped", "failed")

    @property
    def deciding_metric(self) -> str:
        """Return the name of the metric that decides which checkpoint is best."""
        return name_deciding_metric(self.config, self.resolved)

    def is_better_higher(self, name: str) -> bool:
        """Return whether higher values of a metric are better."""
        return is_deciding_higher_better(name, self.metrics)

    def best_step(self) -> int | None:
        """Return the step with the best evaluation by the deciding metric; None before the first one."""
        return _best_step(self.deciding_metric, self.evaluations, self.metrics)

    def tokens_per_second(self) -> float | None:
        """Return trained tokens per second over the last steps; None before the first."""
        recent = self.steps[-pace.OF_SPEED :]
        trained = [point.supervised_tokens for point in recent]
        return pace.measure_tokens_per_second([point.seconds for point in recent], trained)

    def seconds_left(self) -> float | None:
        """Estimate the remaining time from the pace of steps and evaluations; None if unknown."""
        if self.has_ended:
            return None
        seconds = [point.seconds for point in self.steps[-pace.OF_TIME_LEFT :]]
        return pace.estimate_seconds_left(seconds, self.step, self.total_steps, self.between)

    def mean_mfu(self, steps: int = pace.OF_SPEED) -> float | None:
        """Return the model FLOP utilisation over the last steps; None if not measured."""
        recent = self.steps[-steps:]
        return pace.compute_time_mean([point.mfu for point in recent], [point.seconds for point in recent])

    def mean_gpu_busy(self, steps: int = pace.OF_SPEED) -> float | None:
        """Return the share of time in which the GPU computed over the last steps; None if not measured."""
        recent = self.steps[-steps:]
        return pace.compute_time_mean(
            [point.gpu_busy for point in recent], [point.seconds for point in recent]
        )


def _best_step(name: str, evaluations: Iterable[Evaluation], own: Mapping[str, Any]) -> int | None:
    values = ((point.step, point.metrics.get(name)) for point in evaluations)
    return find_best_step(values, is_deciding_higher_better(name, own))


def fold_view_events(view: RunView, events: Iterable[Event]) -> RunView:
    """Return the view after more events. Unknown kinds of newer versions are skipped."""
    draft, clock = _ViewDraft(view), PhaseClock(view.spent)
    for event in events:
        draft.values["last_time"] = event.time
        clock.take_event(event)
        handler = _HANDLERS.get(type(event.body))
        if handler is not None:
            handler(draft, event, event.body)
    draft.values["spent"] = clock.time_so_far()
    return draft.build_view()


class _ViewDraft:
    """Collects the changes of a batch, so that tuples are copied once per batch and not once per event."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self.values: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {}

    def get_value(self, name: str) -> Any:
        return self.values.get(name, getattr(self.view, name))

    def get_list(self, name: str) -> list[Any]:
        if name not in self.lists:
            self.lists[name] = list(getattr(self.view, name))
        return self.lists[name]

    def build_view(self) -> RunView:
        frozen: dict[str, Any] = {name: tuple(items) for name, items in self.lists.items()}
        return replace(self.view, **self.values, **frozen)


def _fold_start(draft: _ViewDraft, event: Event, body: RunStarted) -> None:
    # A journal has one such event for each process; the run began with the first.
    if draft.get_value("started") == 0.0:
        draft.values["started"] = event.time
    else:
        draft.values["resumes"] = draft.get_value("resumes") + 1
    draft.values.update(
        run=event.run,
        status="running",
        config=body.config,
        device=body.device,
        versions=body.versions,
        metrics=body.metrics,
        exit_code=None,
        message="",
        hint="",
        sources=(),
        field="",
        advice="",
        fixes=(),
        rows_seen=False,
        kernels=(),
        bottleneck=None,
        between=pace.PauseMeter(body.resumed_from or 0),
        verdict=None,
    )
    if body.resumed_from is not None:
        _go_back(draft, body.resumed_from)
    if body.total_steps is not None:
        draft.values["total_steps"] = body.total_steps


def _fold_rollback(draft: _ViewDraft, _: Event, body: RolledBack) -> None:
    _go_back(draft, body.step)


def _go_back(draft: _ViewDraft, step: int) -> None:
    """Drop the history after a step, because its later steps are repeated."""
    for name in ("steps", "evaluations", "tables", "held_out"):
        items = draft.get_list(name)
        # In place: the list is the draft's own, and a new one would not reach it.
        items[:] = [point for point in items if point.step <= step]
    samples = draft.get_list("samples")
    # Samples of the end have the last step's number, and the end has not come again yet.
    samples[:] = [sample for sample in samples if sample.step <= step and sample.stage != "after"]
    memories = draft.get_list("memories")
    memories[:] = [known for known in memories if known[0] <= step]
    draft.values["step"] = step


def _fold_phase(draft: _ViewDraft, event: Event, body: Phase) -> None:
    draft.values.update(phase=body.name, progress=draft.get_value("progress").take_event(body, event.time))
    draft.values["between"] = draft.get_value("between").begin_phase(
        body.name, event.time, draft.get_value("step")
    )
    if body.name == "training" and body.total:
        draft.values["total_steps"] = body.total
    # A phase that a thread reports late must not revive a run that has ended.
    if draft.get_value("status") in ("running", "paused"):
        draft.values["status"] = "paused" if body.name == "paused" else "running"


def _fold_step(draft: _ViewDraft, _: Event, body: Step) -> None:
    draft.get_list("steps").append(body)
    draft.values.update(step=body.step, epoch=body.epoch)


def _fold_evaluation(draft: _ViewDraft, _: Event, body: Evaluation) -> None:
    draft.get_list("evaluations").append(replace(body, metrics=rename_metrics(body.metrics)))


def _fold_table(draft: _ViewDraft, _: Event, body: EvaluationTable) -> None:
    """Keep a table, of many only those that are compared."""
    _keep_compared(draft, draft.get_list("tables"), body)


def _fold_held_out(draft: _ViewDraft, _: Event, body: HeldOutRows) -> None:
    """Keep the losses of single rows; rows that are measured again replace the earlier values."""
    rows = draft.get_list("held_out")
    rows[:] = [known for known in rows if known.step != body.step]
    _keep_compared(draft, rows, body)


def _keep_compared(draft: _ViewDraft, items: list[Any], body: EvaluationTable | HeldOutRows) -> None:
    name = name_deciding_metric(draft.get_value("config"), draft.get_value("resolved"))
    best = _best_step(name, draft.get_list("evaluations"), draft.get_value("metrics"))
    # A confusion matrix for each of a thousand evaluations would fill the memory; the screen shows these
    # three.
    kept = {body.step, items[0].step if items else body.step, best}
    items[:] = [item for item in items if item.step in kept]
    items.append(body)


def _fold_verdict(draft: _ViewDraft, _: Event, body: Verdict) -> None:
    draft.values["verdict"] = body


def _fold_sample(draft: _ViewDraft, _: Event, body: Sample) -> None:
    draft.get_list("samples").append(body)


def _fold_checkpoint(draft: _ViewDraft, _: Event, body: CheckpointSaved) -> None:
    draft.get_list("checkpoints").append(body)


def _fold_resolved(draft: _ViewDraft, _: Event, body: Resolved) -> None:
    draft.values["resolved"] = {**draft.get_value("resolved"), body.field: (body.value, body.why)}


def _fold_finished(draft: _ViewDraft, _: Event, body: Finished) -> None:
    draft.values.update(
        status=body.status or "failed",
        exit_code=body.exit_code,
        message=body.message,
        hint=body.hint,
        field=body.field,
        advice=body.advice or body.hint,
        # Fields of an event are sequences of anything: a damaged line must not break a screen.
        fixes=tuple(fix for fix in body.fixes if isinstance(fix, Mapping)),
        rows_seen=body.rows_seen,
        phase="",
    )


def _fold_source(draft: _ViewDraft, _: Event, body: ModelSource) -> None:
    draft.values["sources"] = (*draft.get_value("sources"), body)


def _fold_ledger(draft: _ViewDraft, _: Event, body: RowLedger) -> None:
    draft.values["ledger"] = body


def _fold_heartbeat(draft: _ViewDraft, _: Event, body: Heartbeat) -> None:
    draft.values["host_memory"] = body.memory_host
    if body.memory_host:
        draft.get_list("memories").append((body.step, body.memory_host))


def _fold_memory(draft: _ViewDraft, _: Event, body: Memory) -> None:
    draft.values["memory"] = body


def _fold_kernels(draft: _ViewDraft, _: Event, body: Kernels) -> None:
    draft.values["kernels"] = tuple(one for one in body.chosen if isinstance(one, Mapping))


def _fold_bottleneck(draft: _ViewDraft, _: Event, body: Bottleneck) -> None:
    draft.values["bottleneck"] = body if body.what else None


def _fold_duration(draft: _ViewDraft, _: Event, body: RunDuration) -> None:
    draft.values["duration"] = body
    if not body.corrected_by:
        draft.values["planned"] = body


_HANDLERS: dict[type[EventBody], Callable[[_ViewDraft, Event, Any], None]] = {
    RunStarted: _fold_start,
    RolledBack: _fold_rollback,
    Phase: _fold_phase,
    Step: _fold_step,
    Memory: _fold_memory,
    RunDuration: _fold_duration,
    Evaluation: _fold_evaluation,
    EvaluationTable: _fold_table,
    HeldOutRows: _fold_held_out,
    Verdict: _fold_verdict,
    Sample: _fold_sample,
    Resolved: _fold_resolved,
    ModelSource: _fold_source,
    RowLedger: _fold_ledger,
    CheckpointSaved: _fold_checkpoint,
    Heartbeat: _fold_heartbeat,
    Kernels: _fold_kernels,
    Bottleneck: _fold_bottleneck,
    Finished: _fold_finished,
}
