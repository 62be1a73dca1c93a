"""`RunView`: what a run looks like now, folded from its events. Screens and printers read nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.config.deciding import best_of, decides, is_better_higher
from tui_tuner.config.metrics import renamed
from tui_tuner.runs import pace
from tui_tuner.runs.events import (
    Body,
    Bottleneck,
    CheckpointSaved,
    Evaluation,
    EvaluationTable,
    Event,
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
from tui_tuner.runs.phases.progress import Progress
from tui_tuner.runs.phases.spent import Clock, Spent

NOTHING_BETWEEN = pace.Between()
NO_PROGRESS = Progress()
NO_TIME = Spent()


@dataclass(frozen=True)
class RunView:
    """Immutable; `fold` gives the next one. `status`: new, running, paused, completed, stopped or failed."""

    run: str = ""
    status: str = "new"
    config: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0
    last_time: float = 0.0
    phase: str = ""
    progress: Progress = NO_PROGRESS  # how far the phase is
    spent: Spent = NO_TIME  # where the time went
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
    field: str = ""  # of the config, where a failure comes from
    advice: str = ""  # the hint for a screen
    fixes: tuple[Mapping[str, Any], ...] = ()  # the ways that the hint tells: each {field: value}
    rows_seen: bool = False  # a failure over rows that were read, and not over their file
    host_memory: int = 0
    memories: tuple[tuple[int, int], ...] = ()  # (step, resident bytes of the process), as heartbeats tell
    memory: Memory | None = None
    sources: tuple[ModelSource, ...] = ()  # of the newest process
    duration: RunDuration | None = None  # the newest
    planned: RunDuration | None = None  # as it was before the first step
    kernels: tuple[Mapping[str, Any], ...] = ()  # of the newest process: {part, kernel, why, layers} each
    bottleneck: Bottleneck | None = None  # of the newest process; None where nothing limits it
    between: pace.Between = NOTHING_BETWEEN  # time that no step takes
    verdict: Verdict | None = None  # the newest of the newest process
    held_out: tuple[HeldOutRows, ...] = ()  # of the first, the best and the newest evaluation

    @property
    def verdict_name(self) -> str:
        """The newest verdict by its name; empty where there is none."""
        return self.verdict.verdict if self.verdict is not None else ""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "stopped", "failed")

    @property
    def deciding(self) -> str:
        """The name of the metric that decides which checkpoint is best."""
        return decides(self.config, self.resolved)

    def is_better_higher(self, name: str) -> bool:
        """The direction of a metric."""
        return is_better_higher(name, self.metrics)

    def best_step(self) -> int | None:
        """The step whose evaluation was the best by the deciding metric; None before the first one."""
        return _best_step(self.deciding, self.evaluations, self.metrics)

    def tokens_per_second(self) -> float | None:
        """Trained tokens per second over the last steps; None before the first."""
        recent = self.steps[-pace.OF_SPEED :]
        trained = [point.supervised_tokens for point in recent]
        return pace.tokens_per_second([point.seconds for point in recent], trained)

    def seconds_left(self) -> float | None:
        """Remaining time from the pace of steps and evaluations; None where it cannot be known."""
        if self.ended:
            return None
        seconds = [point.seconds for point in self.steps[-pace.OF_TIME_LEFT :]]
        return pace.seconds_left(seconds, self.step, self.total_steps, self.between)

    def mfu(self, steps: int = pace.OF_SPEED) -> float | None:
        """Model FLOP utilisation over the last steps; None where nobody measured it."""
        recent = self.steps[-steps:]
        return pace.mean_of([point.mfu for point in recent], [point.seconds for point in recent])

    def gpu_busy(self, steps: int = pace.OF_SPEED) -> float | None:
        """Share of time in which the GPU computed over the last steps; None where nobody measured it."""
        recent = self.steps[-steps:]
        return pace.mean_of([point.gpu_busy for point in recent], [point.seconds for point in recent])


def _best_step(name: str, evaluations: Iterable[Evaluation], own: Mapping[str, Any]) -> int | None:
    values = ((point.step, point.metrics.get(name)) for point in evaluations)
    return best_of(values, is_better_higher(name, own))


def fold(view: RunView, events: Iterable[Event]) -> RunView:
    """The view after more events. Kinds of newer versions are passed over."""
    draft, clock = _Draft(view), Clock(view.spent)
    for event in events:
        draft.values["last_time"] = event.time
        clock.take(event)
        handler = _HANDLERS.get(type(event.body))
        if handler is not None:
            handler(draft, event, event.body)
    draft.values["spent"] = clock.now()
    return draft.finish()


class _Draft:
    """Collects changes of a batch, so that the tuples are copied once per batch and not once per event."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self.values: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {}

    def get(self, name: str) -> Any:
        return self.values.get(name, getattr(self.view, name))

    def list(self, name: str) -> list[Any]:
        if name not in self.lists:
            self.lists[name] = list(getattr(self.view, name))
        return self.lists[name]

    def finish(self) -> RunView:
        frozen: dict[str, Any] = {name: tuple(items) for name, items in self.lists.items()}
        return replace(self.view, **self.values, **frozen)


def _run_started(draft: _Draft, event: Event, body: RunStarted) -> None:
    if draft.get("started") == 0.0:
        draft.values["started"] = event.time
    else:
        draft.values["resumes"] = draft.get("resumes") + 1
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
        between=pace.Between(body.resumed_from or 0),
        verdict=None,
    )
    if body.resumed_from is not None:
        _back_to(draft, body.resumed_from)
    if body.total_steps is not None:
        draft.values["total_steps"] = body.total_steps


def _rolled_back(draft: _Draft, _: Event, body: RolledBack) -> None:
    _back_to(draft, body.step)


def _back_to(draft: _Draft, step: int) -> None:
    """Steps after the checkpoint are done again: keep one history."""
    for name in ("steps", "evaluations", "tables", "held_out"):
        items = draft.list(name)
        items[:] = [point for point in items if point.step <= step]
    samples = draft.list("samples")
    samples[:] = [sample for sample in samples if sample.step <= step and sample.stage != "after"]
    memories = draft.list("memories")
    memories[:] = [known for known in memories if known[0] <= step]
    draft.values["step"] = step


def _phase(draft: _Draft, event: Event, body: Phase) -> None:
    draft.values.update(phase=body.name, progress=draft.get("progress").after(body, event.time))
    draft.values["between"] = draft.get("between").after(body.name, event.time, draft.get("step"))
    if body.name == "training" and body.total:
        draft.values["total_steps"] = body.total
    if draft.get("status") in ("running", "paused"):
        draft.values["status"] = "paused" if body.name == "paused" else "running"


def _step(draft: _Draft, _: Event, body: Step) -> None:
    draft.list("steps").append(body)
    draft.values.update(step=body.step, epoch=body.epoch)


def _evaluation(draft: _Draft, _: Event, body: Evaluation) -> None:
    draft.list("evaluations").append(replace(body, metrics=renamed(body.metrics)))


def _table(draft: _Draft, _: Event, body: EvaluationTable) -> None:
    """Of many evaluations those are kept that are compared."""
    _keep_compared(draft, draft.list("tables"), body)


def _held_out(draft: _Draft, _: Event, body: HeldOutRows) -> None:
    """The same of the losses of single rows; rows that were measured once more replace what they were."""
    rows = draft.list("held_out")
    rows[:] = [known for known in rows if known.step != body.step]
    _keep_compared(draft, rows, body)


def _keep_compared(draft: _Draft, items: list[Any], body: EvaluationTable | HeldOutRows) -> None:
    name = decides(draft.get("config"), draft.get("resolved"))
    best = _best_step(name, draft.list("evaluations"), draft.get("metrics"))
    kept = {body.step, items[0].step if items else body.step, best}
    items[:] = [item for item in items if item.step in kept]
    items.append(body)


def _verdict(draft: _Draft, _: Event, body: Verdict) -> None:
    draft.values["verdict"] = body


def _sample(draft: _Draft, _: Event, body: Sample) -> None:
    draft.list("samples").append(body)


def _checkpoint(draft: _Draft, _: Event, body: CheckpointSaved) -> None:
    draft.list("checkpoints").append(body)


def _resolved(draft: _Draft, _: Event, body: Resolved) -> None:
    draft.values["resolved"] = {**draft.get("resolved"), body.field: (body.value, body.why)}


def _finished(draft: _Draft, _: Event, body: Finished) -> None:
    draft.values.update(
        status=body.status or "failed",
        exit_code=body.exit_code,
        message=body.message,
        hint=body.hint,
        field=body.field,
        advice=body.advice or body.hint,
        fixes=tuple(fix for fix in body.fixes if isinstance(fix, Mapping)),
        rows_seen=body.rows_seen,
        phase="",
    )


def _model_source(draft: _Draft, _: Event, body: ModelSource) -> None:
    draft.values["sources"] = (*draft.get("sources"), body)


def _ledger(draft: _Draft, _: Event, body: RowLedger) -> None:
    draft.values["ledger"] = body


def _heartbeat(draft: _Draft, _: Event, body: Heartbeat) -> None:
    draft.values["host_memory"] = body.memory_host
    if body.memory_host:
        draft.list("memories").append((body.step, body.memory_host))


def _memory(draft: _Draft, _: Event, body: Memory) -> None:
    draft.values["memory"] = body


def _kernels(draft: _Draft, _: Event, body: Kernels) -> None:
    draft.values["kernels"] = tuple(one for one in body.chosen if isinstance(one, Mapping))


def _bottleneck(draft: _Draft, _: Event, body: Bottleneck) -> None:
    draft.values["bottleneck"] = body if body.what else None


def _duration(draft: _Draft, _: Event, body: RunDuration) -> None:
    draft.values["duration"] = body
    if not body.corrected_by:
        draft.values["planned"] = body


_HANDLERS: dict[type[Body], Callable[[_Draft, Event, Any], None]] = {
    RunStarted: _run_started,
    RolledBack: _rolled_back,
    Phase: _phase,
    Step: _step,
    Memory: _memory,
    RunDuration: _duration,
    Evaluation: _evaluation,
    EvaluationTable: _table,
    HeldOutRows: _held_out,
    Verdict: _verdict,
    Sample: _sample,
    Resolved: _resolved,
    ModelSource: _model_source,
    RowLedger: _ledger,
    CheckpointSaved: _checkpoint,
    Heartbeat: _heartbeat,
    Kernels: _kernels,
    Bottleneck: _bottleneck,
    Finished: _finished,
}
