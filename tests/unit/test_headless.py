"""Lines from a journal: readable, sanitised, quiet when the reader leaves."""

import contextlib
import io
import json
import os
import time
from pathlib import Path

from tui_tuner.data.ledger import Ledger
from tui_tuner.data.records import Origin
from tui_tuner.headless import Follower, LinePrinter, RawPrinter, make_printer_writer
from tui_tuner.runs.events import (
    Bottleneck,
    Evaluation,
    Event,
    EventBody,
    Finished,
    Heartbeat,
    Kernels,
    Log,
    Phase,
    RolledBack,
    RowLedger,
    RunStarted,
    Sample,
    Step,
    Warned,
)
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.pace import StepFormatter
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.text import format_seconds


def _write_run(path: Path) -> None:
    journal = JournalWriter(path, "ads")
    journal.emit(RunStarted(config={}, device="cpu", total_steps=2))
    journal.emit(Phase(name="loading", note="evil \x1b[31mname [/red]"))
    journal.emit(Sample(step=0, index=0, stage="before", prompt="color: red", text="blah", stopped=False))
    journal.emit(Evaluation(step=0, stage="before", metrics={"attribute_coverage": 0.25}))
    for step in (1, 2):
        journal.emit(Step(step=step, epoch=step / 2, loss=3.0 - step, learning_rate=1e-4, grad_norm=None,
                     supervised_tokens=10, tokens=20, tokens_per_second=10.0, seconds=1.0))  # fmt: skip
    journal.emit(Sample(step=2, index=0, stage="after", prompt="color: red", text="A red one.", stopped=True))
    journal.emit(Evaluation(step=2, stage="after", metrics={"attribute_coverage": 1.0}))
    journal.emit(Warned(code="x", message="careful", hint="do this"))
    journal.emit(Log(level="info", message="Chat template: \x1b[31mChatML."))
    journal.emit(Finished(status="completed", exit_code=0, message=""))
    journal.close()


def test_lines_say_what_happened_and_hold_no_escape(tmp_path: Path) -> None:
    _write_run(tmp_path / "e")
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(JournalReader(tmp_path / "e").read_events())
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "step 2/2" in text and "loss 1.0000" in text and "grad norm not a number" in text
    assert "blah  [did not stop]" in text and "A red one." in text
    assert "attribute_coverage: 0.250 before, 1.000 after" in text
    assert "warning: careful do this" in text
    assert "Chat template: \u241b[31mChatML." in text
    assert lines[-1].endswith("completed")


def test_a_run_that_ended_before_it_was_measured_again_has_no_after(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "e", "ads")
    journal.emit(Evaluation(step=0, stage="validation", metrics={"loss": 9.7}))
    journal.emit(Evaluation(step=0, stage="before", metrics={"attribute_coverage": 0.25}))
    journal.emit(Finished(status="failed", exit_code=1, message="The loss is no number."))
    journal.close()
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(JournalReader(tmp_path / "e").read_events())
    assert not [line for line in lines if " after" in line]


def test_json_lines_are_the_journals_own(tmp_path: Path) -> None:
    _write_run(tmp_path / "e")
    lines: list[str] = []
    RawPrinter(lines.append).feed_events(JournalReader(tmp_path / "e").read_events())
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in (tmp_path / "e").read_text().splitlines()
    ]


def test_a_follower_prints_everything_written_until_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "e"
    out = io.StringIO()
    follower = Follower(path, RawPrinter(make_printer_writer(out)))
    follower.start_following()
    journal = JournalWriter(path, "r")
    for step in range(50):
        journal.emit(Heartbeat(step=step))
        time.sleep(0.005)
    follower.finish_following()
    assert [json.loads(line)["step"] for line in out.getvalue().splitlines()] == list(range(50))


def test_a_reader_that_leaves_does_not_stop_the_run() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w") as stream:
        write = make_printer_writer(stream)
        for _ in range(3):
            write("nobody reads this")
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def test_the_row_ledger_is_printed_with_its_reasons(tmp_path: Path) -> None:
    ledger, held = Ledger(), Ledger()
    for row in range(1, 9):
        ledger.count_row("kept", Origin("a.jsonl", row, row), pieces=1)
    ledger.count_row("dropped", Origin("a.jsonl", 9, 9), "unknown role \x1b[31m", "wizard")
    ledger.count_row("split", Origin("a.jsonl", 10, 10), "split between turns to fit max_length", "…", 3)
    ledger.splits = {"training_pieces": 11, "validation_pieces": 0}
    held.count_row("dropped", Origin("b.jsonl", 1, 1), "broken JSON")
    journal = JournalWriter(tmp_path / "e", "r")
    journal.emit(RowLedger(**ledger.to_json(), validation=held.to_json()))
    journal.close()
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(JournalReader(tmp_path / "e").read_events())
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "rows: read 10 = kept 8, split 1, dropped 1" in text
    assert "rows: 1 dropped: unknown role" in text and "the first a.jsonl:9" in text
    assert "rows: 11 sequences to train on, 0 held out" in text
    assert "validation rows: 1 dropped: broken JSON, the first b.jsonl:1" in text


def test_a_step_that_learns_no_tokens_has_no_speed_in_tokens() -> None:
    """A class is learnt from a whole text: "0 trained tok/s" would say that nothing is."""
    figures = (1, 2, 0.5, "0.5", 1e-4, "1.0")
    assert StepFormatter().format_step(*figures, speed=0.0, metrics={}).endswith("grad norm 1.0")
    assert StepFormatter().format_step(*figures, speed=7.0, metrics={}).endswith("7 trained tok/s")


def test_a_printer_says_what_the_whole_view_says_and_keeps_no_more_than_it_needs() -> None:
    """Each event copied all steps before it: a long run took minutes to print."""
    bodies: list[EventBody] = [RunStarted(config={}, device="cpu"), Phase("training", 0, 500)]
    bodies += [_timed_step(number, 0.5 + number % 7) for number in range(1, 301)]
    bodies += [RolledBack(step=200), Evaluation(step=200, stage="before", metrics={"a": 0.5})]
    bodies += [_timed_step(number, 0.25 + number % 5) for number in range(201, 300)]
    bodies += [Phase("evaluating", 0, 9), Evaluation(step=299, stage="validation", metrics={"loss": 0.5})]
    bodies += [Phase("training", 299, 500)]
    bodies += [_timed_step(number, 0.25 + number % 5) for number in range(300, 400)]
    lines: list[str] = []
    printer, view = LinePrinter(lines.append), RunView()
    for number, body in enumerate(bodies):
        event = Event(body, "r", number, 1.7e9 + 3 * number)
        view = fold_view_events(view, [event])
        lines.clear()
        printer.feed_events([event])
        if isinstance(body, Step):
            speed, left = view.tokens_per_second(), view.seconds_left()
            assert f"{speed:,.0f} trained tok/s" in lines[0]
            assert left is None or f"{format_seconds(left)} left" in lines[0]
    assert printer.view.steps == () and printer.view.evaluations == ()
    assert (printer.view.status, printer.view.total_steps) == (view.status, view.total_steps)


def _timed_step(step: int, seconds: float) -> Step:
    return Step(
        step=step,
        epoch=step / 100,
        loss=1.0,
        learning_rate=1e-4,
        grad_norm=1.0,
        supervised_tokens=1000 + step,
        tokens=2000,
        tokens_per_second=1.0,
        seconds=seconds,
    )


def test_how_a_gpu_is_used_is_in_the_lines_where_it_was_measured() -> None:
    bodies: list[EventBody] = [
        RunStarted(config={}, device="NVIDIA H100", total_steps=9),
        Kernels([{"part": "attention", "kernel": "varlen_attn\x1b[2J", "layers": 32}, {"part": "norm"}, 7]),
        Step(1, seconds=1.0, loss=1.0),
        Step(2, seconds=1.0, loss=1.0, mfu=0.4125, gpu_busy=0.934),
        Bottleneck("processor", "waiting for the processor: 41%\x07", "Raise it.", 2, 0.41),
        Bottleneck(message="The GPU is busy 93% of the time again."),
    ]
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(
        Event(body, "r", n, 1.7e9 + 10 * n) for n, body in enumerate(bodies)
    )
    assert lines[1].endswith("kernels: attention varlen_attn␛[2J (32), norm the model's own")
    assert "MFU" not in lines[2] and "busy" not in lines[2]
    assert "  MFU 41.2%  GPU busy 93%  " in lines[3]
    assert "bottleneck: waiting for the processor: 41%" in lines[4] and lines[4].endswith("Raise it.")
    assert lines[5].endswith("The GPU is busy 93% of the time again.")
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def test_the_time_left_counts_evaluations_that_were_seen() -> None:
    """Ten steps of a second, then an evaluation of 30 s: each step that is left takes four."""

    def at(time: float, body: EventBody) -> Event:
        return Event(body, "r", 0, 1.7e9 + time)

    events = [at(0, RunStarted(config={}, device="cpu", total_steps=30)), at(0, Phase("sampling"))]
    events += [at(100, Phase("training", 0, 30))]  # what comes before the first step does not come again
    events += [at(100 + n, _timed_step(n, 1.0)) for n in range(1, 11)]
    view = fold_view_events(RunView(), events)
    assert view.seconds_left() == 20
    events += [at(110, Phase("evaluating", 0, 9)), at(120, Phase("evaluating", 4, 9))]
    events += [at(140, Phase("training", 10, 30)), at(141, _timed_step(11, 1.0))]
    view = fold_view_events(RunView(), events)
    assert view.seconds_left() == 19 * 4
    events += [at(141, Phase("paused")), at(900, Phase("training", 11, 30)), at(901, _timed_step(12, 1.0))]
    assert fold_view_events(RunView(), events).seconds_left() == 18 * 4
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(events)
    assert f"{format_seconds(18 * 4)} left" in lines[-1]
    again = [*events, at(950, RunStarted(config={}, device="cpu", total_steps=30, resumed_from=12))]
    assert fold_view_events(RunView(), again).seconds_left() == 18
