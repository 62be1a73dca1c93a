"""`RunView`: what a run looks like now, folded from its events. Screens and printers read nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.runs.events import Event

LOG_LINES = 500


@dataclass(frozen=True)
class StepPoint:
    """One optimizer step, in the units of the `step` event."""

    step: int
    epoch: float
    loss: float | None
    learning_rate: float
    grad_norm: float | None
    supervised_tokens: int
    tokens: int
    tokens_per_second: float
    seconds: float
    memory_allocated: int
    memory_reserved: int


@dataclass(frozen=True)
class EvalPoint:
    step: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Sample:
    """An answer generated during a run."""

    step: int
    index: int
    stage: str
    prompt: str
    text: str
    reference: str
    stopped: bool


@dataclass(frozen=True)
class Notice:
    """A line of the log pane: a warning, a log line, an out-of-memory."""

    time: float
    level: str
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class RunView:
    """Immutable; `fold` gives the next one. `status`: new, running, paused, completed, stopped or failed."""

    run: str = ""
    status: str = "new"
    config: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    started: float = 0.0
    last_time: float = 0.0
    phase: str = ""
    phase_note: str = ""
    phase_done: int = 0
    phase_total: int = 0
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    steps: tuple[StepPoint, ...] = ()
    evaluations: tuple[EvalPoint, ...] = ()
    samples: tuple[Sample, ...] = ()
    notices: tuple[Notice, ...] = ()
    resolved: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: tuple[Mapping[str, Any], ...] = ()
    resumes: int = 0
    exit_code: int | None = None
    message: str = ""
    hint: str = ""
    host_memory: int = 0
    memory: Mapping[str, Any] = field(default_factory=dict)  # the `memory` event
    duration: Mapping[str, Any] = field(default_factory=dict)  # the newest `duration` event
    planned: Mapping[str, Any] = field(default_factory=dict)  # the `duration` event before the first step

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "stopped", "failed")

    def tokens_per_second(self, window: int = 20) -> float | None:
        """Supervised tokens per second over the last `window` steps; None before the first."""
        recent = self.steps[-window:]
        seconds = sum(point.seconds for point in recent)
        return sum(point.supervised_tokens for point in recent) / seconds if seconds > 0 else None

    def seconds_left(self, window: int = 50) -> float | None:
        """Remaining time from the last steps' pace; None where it cannot be known."""
        recent = self.steps[-window:]
        if len(recent) < 2 or not self.total_steps or self.ended:
            return None
        pace = sum(point.seconds for point in recent) / len(recent)
        return pace * max(0, self.total_steps - self.step)


def fold(view: RunView, events: Iterable[Event]) -> RunView:
    """The view after more events. Unknown kinds and fields of newer versions are passed over."""
    draft = _Draft(view)
    for event in events:
        handler = _HANDLERS.get(event.kind)
        draft.values["last_time"] = event.time
        if handler is None:
            continue
        try:
            handler(draft, event)
        except (TypeError, ValueError, KeyError, AttributeError):
            continue  # a damaged line must not take the screen down
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
        if "notices" in self.lists:
            self.lists["notices"] = self.lists["notices"][-LOG_LINES:]
        frozen: dict[str, Any] = {name: tuple(items) for name, items in self.lists.items()}
        return replace(self.view, **self.values, **frozen)


def _run_started(draft: _Draft, event: Event) -> None:
    resumed = event.get("resumed_from")
    if draft.get("started") == 0.0:
        draft.values["started"] = event.time
    else:
        draft.values["resumes"] = draft.get("resumes") + 1
    draft.values.update(
        run=event.run,
        status="running",
        config=event.get("config") or {},
        device=str(event.get("device") or ""),
        versions=event.get("versions") or {},
        exit_code=None,
        message="",
        hint="",
    )
    if isinstance(resumed, int):
        _back_to(draft, resumed)
    if isinstance(event.get("total_steps"), int):
        draft.values["total_steps"] = event.get("total_steps")


def _rolled_back(draft: _Draft, event: Event) -> None:
    _back_to(draft, int(event.get("step")))


def _back_to(draft: _Draft, step: int) -> None:
    """Steps after the checkpoint are done again: keep one history."""
    for name in ("steps", "evaluations"):
        items = draft.list(name)
        items[:] = [point for point in items if point.step <= step]
    samples = draft.list("samples")
    samples[:] = [sample for sample in samples if sample.step <= step and sample.stage != "after"]
    draft.values["step"] = step


def _phase(draft: _Draft, event: Event) -> None:
    name = str(event.get("name") or "")
    draft.values.update(
        phase=name,
        phase_note=str(event.get("note") or ""),
        phase_done=int(event.get("done") or 0),
        phase_total=int(event.get("total") or 0),
    )
    if name == "training" and event.get("total"):
        draft.values["total_steps"] = int(event.get("total"))
    if draft.get("status") in ("running", "paused"):
        draft.values["status"] = "paused" if name == "paused" else "running"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _step(draft: _Draft, event: Event) -> None:
    point = StepPoint(
        step=int(event.get("step")),
        epoch=float(event.get("epoch") or 0.0),
        loss=_number(event.get("loss")),
        learning_rate=float(event.get("learning_rate") or 0.0),
        grad_norm=_number(event.get("grad_norm")),
        supervised_tokens=int(event.get("supervised_tokens") or 0),
        tokens=int(event.get("tokens") or 0),
        tokens_per_second=float(event.get("tokens_per_second") or 0.0),
        seconds=float(event.get("seconds") or 0.0),
        memory_allocated=int(event.get("memory_allocated") or 0),
        memory_reserved=int(event.get("memory_reserved") or 0),
    )
    draft.list("steps").append(point)
    draft.values.update(step=point.step, epoch=point.epoch)


def _evaluation(draft: _Draft, event: Event) -> None:
    metrics = {str(name): _number(value) for name, value in (event.get("metrics") or {}).items()}
    draft.list("evaluations").append(EvalPoint(int(event.get("step") or 0), metrics))


def _sample(draft: _Draft, event: Event) -> None:
    draft.list("samples").append(
        Sample(
            step=int(event.get("step") or 0),
            index=int(event.get("index") or 0),
            stage=str(event.get("stage") or "during"),
            prompt=str(event.get("prompt") or ""),
            text=str(event.get("text") or ""),
            reference=str(event.get("reference") or ""),
            stopped=bool(event.get("stopped")),
        )
    )


def _notice(level: str) -> Any:
    def handle(draft: _Draft, event: Event) -> None:
        draft.list("notices").append(
            Notice(
                event.time,
                str(event.get("level") or level),
                str(event.get("code") or event.kind),
                str(event.get("message") or ""),
                str(event.get("hint") or ""),
            )
        )

    return handle


def _resolved(draft: _Draft, event: Event) -> None:
    known = dict(draft.get("resolved"))
    known[str(event.get("field"))] = (event.get("value"), str(event.get("why") or ""))
    draft.values["resolved"] = known


def _finished(draft: _Draft, event: Event) -> None:
    draft.values.update(
        status=str(event.get("status") or "failed"),
        exit_code=event.get("exit_code"),
        message=str(event.get("message") or ""),
        hint=str(event.get("hint") or ""),
        phase="",
    )


def _ledger(draft: _Draft, event: Event) -> None:
    draft.values["ledger"] = dict(event.fields)


def _checkpoint(draft: _Draft, event: Event) -> None:
    draft.list("checkpoints").append(dict(event.fields))


def _heartbeat(draft: _Draft, event: Event) -> None:
    draft.values["host_memory"] = int(event.get("memory_host") or 0)


def _memory(draft: _Draft, event: Event) -> None:
    draft.values["memory"] = dict(event.fields)


def _duration(draft: _Draft, event: Event) -> None:
    draft.values["duration"] = dict(event.fields)
    if not event.get("corrected_by"):
        draft.values["planned"] = dict(event.fields)


_HANDLERS: dict[str, Any] = {
    "run_started": _run_started,
    "rolled_back": _rolled_back,
    "phase": _phase,
    "step": _step,
    "memory": _memory,
    "duration": _duration,
    "evaluation": _evaluation,
    "sample": _sample,
    "warning": _notice("warning"),
    "log": _notice("info"),
    "out_of_memory": _notice("warning"),
    "command": _notice("info"),
    "resolved": _resolved,
    "ledger": _ledger,
    "checkpoint": _checkpoint,
    "heartbeat": _heartbeat,
    "finished": _finished,
}
