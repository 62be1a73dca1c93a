"""The figures of a run and the load of the machine, one per line; only changed lines are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from tui_tuner.config.deciding import name_shown_metric
from tui_tuner.locales import _, _n
from tui_tuner.runs.events import Evaluation
from tui_tuner.runs.pace import OF_SPEED
from tui_tuner.runs.view import RunView
from tui_tuner.text import format_bytes, format_money, one_line
from tui_tuner.ui.bridge import RunSnapshot
from tui_tuner.ui.machine_load import MachineLoad
from tui_tuner.ui.screen_words import format_duration_range, format_screen_metric, format_screen_number, rough
from tui_tuner.ui.widgets.changed_lines import Lines

_LABEL = 14  # cells of the column of labels
LOSSES = ("loss", "validation_loss", "eval_loss")
_MOST_METRICS = 4  # metrics of an objective, so that the rows below stay visible


class Numbers(Horizontal):
    """Labels and values in two columns. Rows without a measurement are omitted."""

    DEFAULT_CSS = f"""
    Numbers {{ width: 31; height: 1fr; }}
    Numbers > Lines {{ height: 1fr; }}
    Numbers > #labels {{ width: {_LABEL}; color: $dim; }}
    """

    def compose(self) -> ComposeResult:
        yield Lines(id="labels")
        yield Lines(id="values")

    def on_mount(self) -> None:
        self.border_title = Content(_("Figures"))

    def show_figures(self, snapshot: RunSnapshot, load: MachineLoad | None) -> None:
        """Show the figures of a run, and the machine's load if the run is on it."""
        rows = [*_run_rows(snapshot.view), *(_machine_rows(load) if load else ())]
        # These rows come and go with the size of the pane; those above never do.
        room = self.size.height - len(rows)
        rows += list(_more_rows(snapshot.view))[: max(0, room)]
        wide = self.size.width >= 38
        self.query_one("#labels", Lines).show_lines(*(Content(row[0][: _LABEL - 1]) for row in rows))
        self.query_one("#values", Lines).show_lines(
            *(_format_value(label, value, share, wide) for label, value, share in rows)
        )


def _format_value(label: str, value: str, share: float | None, wide: bool) -> Content:
    if share is None:
        return Content(value)
    cells = 6 if wide else 0
    filled = round(max(0.0, min(1.0, share)) * cells)
    calm = label.startswith(_("CPU")) or label in (_("MFU"), _("GPU busy"))  # high values are good
    colour = "$warning" if share > 0.92 and not calm else "$primary"
    gauge = (("▪" * filled, colour), ("·" * (cells - filled) + " ", "$line")) if cells else ()
    return Content.assemble(*gauge, value)


def _run_rows(view: RunView) -> Iterator[tuple[str, str, float | None]]:
    last = view.steps[-1] if view.steps else None
    yield _("loss"), format_screen_number(last.loss if last else None), None
    yield from _judged_rows(view)
    values = [loss for point in view.evaluations if (loss := find_validation_loss(point)) is not None]
    # `min` of a list that contains NaN depends on the order of its values.
    finite = [loss for loss in values if math.isfinite(loss)]
    if values:
        yield _("validation"), format_screen_number(values[-1]), None
        if len(values) > 1:
            yield "  " + _("best"), format_screen_number(min(finite, default=None)), None
    yield _("learning rate"), f"{last.learning_rate:.2e}" if last else "–", None
    yield _("gradient norm"), format_screen_number(last.grad_norm if last else None, 3), None
    for name, value in list(last.metrics.items())[:_MOST_METRICS] if last else ():
        yield one_line(name), format_screen_number(value, 3), None
    speed = view.tokens_per_second()
    yield _("trained tok/s"), f"{speed:,.0f}" if speed else "–", None
    mfu, busy = view.mean_mfu(), view.mean_gpu_busy()
    if mfu is not None:
        yield _("MFU"), f"{mfu:5.1%}", mfu
    if busy is not None:
        yield _("GPU busy"), f"{busy:5.0%}", busy
    yield from _time_rows(view)
    if last and last.memory_reserved:
        used, held = format_bytes(last.memory_allocated), format_bytes(last.memory_reserved)
        yield _("device memory"), _("{used} of {held} held", used=used, held=held), None
    if view.memory is not None:
        predicted, measured = view.memory.predicted_allocated, view.memory.allocated
        if predicted and measured is not None:
            share = f"{format_bytes(predicted)} ({measured / predicted - 1:+.1%})"
            yield "  " + _("predicted"), share, None
    if view.host_memory:
        yield _("run's memory"), format_bytes(view.host_memory), None
    if view.checkpoints:
        best_step = next((saved.step for saved in reversed(view.checkpoints) if saved.best), None)
        step = view.checkpoints[-1].step
        if best_step is not None:
            yield _("saved at step"), _("{step:,}, best {best:,}", step=step, best=best_step), None
        else:
            yield _("saved at step"), f"{step:,}", None


def _more_rows(view: RunView) -> Iterator[tuple[str, str, float | None]]:
    """Yield rows that are shown if there is room, the most useful first."""
    recent = view.steps[-OF_SPEED:]
    took = [step.seconds for step in recent if step.seconds > 0]
    if took:
        each = sum(took) / len(took)
        yield _("time per step"), f"{each:.2f} s" if each < 10 else rough(each), None
    # During a run these change each second, and would be a large part of the terminal's traffic.
    if view.steps and view.has_ended:
        yield _("tokens"), _round_count(sum(step.tokens for step in view.steps)), None
        yield "  " + _("trained"), _round_count(sum(step.supervised_tokens for step in view.steps)), None
    if view.evaluations:
        yield _("evaluated"), _("step {step}", step=view.evaluations[-1].step), None
        for name, value in list(view.evaluations[-1].metrics.items())[:_MOST_METRICS]:
            if name not in (*LOSSES, view.deciding_metric):
                yield "  " + name_shown_metric(name, view.metrics), format_screen_metric(name, value), None
    saved = view.checkpoints[-1] if view.checkpoints else None
    if saved is not None and saved.bytes:
        yield _("checkpoint"), format_bytes(saved.bytes), None
    if view.resumes:
        yield _("resumed"), _n("{count} time", "{count} times", view.resumes, count=view.resumes), None


def _round_count(count: int) -> str:
    """Round a count to three digits."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 1000 * size else f"{count / size:,.0f}{unit}"
    return f"{count}"


def _judged_rows(view: RunView) -> Iterator[tuple[str, str, float | None]]:
    """Yield the deciding metric if it is not the loss: its newest and its best value."""
    name = view.deciding_metric
    if name in LOSSES:
        return
    measures = ((point.step, point.metrics.get(name)) for point in view.evaluations)
    values = {step: value for step, value in measures if value is not None}
    if not values:
        return
    yield name_shown_metric(name, view.metrics), format_screen_metric(name, list(values.values())[-1]), None
    best = view.best_step()
    if best is not None and len(values) > 1:
        yield (
            "  " + _("best"),
            _("{value} at {step}", value=format_screen_metric(name, values[best]), step=best),
            None,
        )


def _time_rows(view: RunView) -> Iterator[tuple[str, str, float | None]]:
    """Yield the duration of the whole run by its steps, the planned one, and the cost."""
    found = view.duration
    if found is None:
        return
    if not view.has_ended:
        yield _("whole run"), format_duration_range(found.low, found.high), None
    if view.planned is not None and found.corrected_by:
        yield "  " + _("planned"), rough(view.planned.seconds), None
    if found.cost is not None and found.cost_spent is not None:
        spent, cost = format_money(found.cost_spent), format_money(found.cost)
        yield _("cost"), _("{spent} of ~{cost}", spent=spent, cost=cost), None


def _machine_rows(load: MachineLoad) -> Iterator[tuple[str, str, float | None]]:
    if load.gpu is not None and load.gpu_memory_total:
        hot = f"  {load.gpu_temperature} °C" if load.gpu_temperature is not None else ""
        label = _("GPU") if load.gpus == 1 else _("{n} GPUs", n=load.gpus)
        yield label, f"{load.gpu:4.0%}{hot}", load.gpu
        used = load.gpu_memory_used or 0
        yield _("GPU memory"), _format_pair(used, load.gpu_memory_total), used / load.gpu_memory_total
    yield _("CPU"), f"{load.cpu:4.0%}", load.cpu
    yield _("memory"), _format_pair(load.memory_used, load.memory_total), load.memory_used / load.memory_total


def _format_pair(used: int, total: int) -> str:
    return f"{used / 2**30:.1f}/{total / 2**30:.1f} GiB"


def find_validation_loss(point: Evaluation) -> float | None:
    """Return the loss of an evaluation, if it has one; it may be NaN or infinite."""
    return next((value for name in LOSSES if (value := point.metrics.get(name)) is not None), None)
