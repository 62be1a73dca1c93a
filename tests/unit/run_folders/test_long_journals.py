"""Journals of many steps: read in blocks without an event for each, and told as if there were one."""

import json
import math
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from tui_tuner import headless
from tui_tuner.headless import LinePrinter, RawPrinter, print_journal_lines
from tui_tuner.runs import journal_tally as tally_module
from tui_tuner.runs.events import (
    Evaluation,
    Event,
    EventBody,
    Finished,
    Heartbeat,
    Log,
    Phase,
    RolledBack,
    RunStarted,
    Step,
    Warned,
)
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.journal_tally import update_tally
from tui_tuner.runs.phases import step_lines
from tui_tuner.runs.scan import list_whole_lines, scan_journal_lines
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import decode_event_line, encode_event


def _bodies(count: int, chance: random.Random) -> list[EventBody]:
    bodies: list[EventBody] = [
        RunStarted(config={}, device="CPU", total_steps=count),
        Phase("training", 0, count),
    ]
    for step in range(1, count + 1):
        metrics = {"reward": chance.random(), "odd\x1bname": None} if chance.random() < 0.3 else {}
        loss = chance.choice([chance.random(), None, math.nan, math.inf, 3, 1e-30])
        norm = chance.choice([chance.random() * 1e6, None])
        memory = chance.choice([0, 5 << 30])
        seconds = chance.random()
        bodies.append(
            Step(step, step / 7, loss, 10 ** -chance.randint(1, 9), norm, chance.randint(0, 9999), step, 12.5)
            if chance.random() < 0.1
            else Step(
                *(step, step / 7, loss, 1e-4, norm, 1000 + step, step, 5.5, memory, memory, seconds, metrics),
                mfu=chance.choice([None, chance.random(), 0.0]),
                gpu_busy=chance.choice([None, chance.random(), 1.0]),
            )
        )
        if chance.random() < 0.1:
            bodies.append(Heartbeat(step, 10**9))
        if chance.random() < 0.05:
            bodies.append(Phase("evaluating", 0, 4))
            bodies.append(Evaluation(step, "validation", {"loss": chance.random()}))
            bodies.append(Phase("training", step, count))
        if chance.random() < 0.03:
            bodies.append(Log('says {"kind":"step","step":5}'))
        if chance.random() < 0.02:
            bodies.append(RolledBack(max(0, step - 30)))
        if chance.random() < 0.01:
            bodies.append(RunStarted(config={}, device="CPU", resumed_from=max(0, step - 3)))
    return [*bodies, Warned("x", "careful"), Finished("completed", 0, "done")]


def _journal(count: int, seed: int, seconds: float = 0.9) -> bytes:
    """Lines as this version writes them, and among them torn, foreign, damaged and empty ones."""
    chance = random.Random(seed)
    run = chance.choice(["ads", "läuft", 'with "quotes"'])
    lines, moment = [], 1.7e9
    for number, body in enumerate(_bodies(count, chance)):
        moment += seconds * chance.random() * 2 - (3600 if chance.random() < 0.01 else 0)
        line = encode_event(Event(body, run, number, round(moment, 3)))
        lines.append(line)
        if isinstance(body, Step) and chance.random() < 0.15:
            damaged = line.replace(b'"seconds":', b'"seconds":1.2.', 1)
            spaced = json.dumps(json.loads(line)).encode() + b"\n"
            foreign = line.replace(b'"v":1', b'"v":2').replace(b'"tokens":', b'"more":[1],"tokens":')
            crlf = line.replace(b"\n", b"\r\n")
            lines.append(
                chance.choice(
                    [damaged, spaced, foreign, crlf, line[: len(line) // 2] + b"\n", b"\n", b"\xff\n"]
                )
            )
    return b"".join(lines)


def _events(block: bytes) -> list[Event]:
    return [event for line in block.splitlines() if (event := decode_event_line(line)) is not None]


@pytest.mark.parametrize("seed", range(6))
def test_blocks_are_printed_as_their_events_are(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(_journal(400, seed, seconds=0.1 if seed % 2 else 1.5))
    one_by_one: list[str] = []
    at_once: list[str] = []
    LinePrinter(one_by_one.append).feed_events(_events(path.read_bytes()))
    print_journal_lines(JournalReader(path), LinePrinter(at_once.append))
    assert at_once == one_by_one
    assert len(at_once) > 30


@pytest.mark.parametrize("limit", [1, 300, 5000, 1 << 20])
def test_however_much_is_read_at_a_time(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(_journal(60, 9))
    expected: list[str] = []
    lines: list[str] = []
    LinePrinter(expected.append).feed_events(_events(path.read_bytes()))
    monkeypatch.setattr(headless, "READ_AT_ONCE", limit)
    print_journal_lines(JournalReader(path), LinePrinter(lines.append))
    assert lines == expected


@pytest.mark.parametrize("seed", range(3))
def test_json_is_every_line_that_is_an_event_and_no_other(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(_journal(300, seed))
    out: list[str] = []
    print_journal_lines(JournalReader(path), RawPrinter(out.append))
    lines = "\n".join(out).split("\n")
    assert lines == [event.line.decode() for event in _events(path.read_bytes())]
    assert all(json.loads(line)["kind"] for line in lines)


def test_steps_are_found_as_they_are_written() -> None:
    for step in (
        Step(1, 0.5, None, 1e-4, 1.5, 10, 20, 3.5),
        Step(2, 0.5, 1.0, 0.0, None, metrics={"a": 1.5}),
        Step(3, 0.5, 1.0, 0.0, None, metrics={"a": 1.5}, mfu=0.5, gpu_busy=0.25),
        Step(3, 0.5, 1.0, 0.0, None, gpu_busy=0.25),
    ):
        line = encode_event(Event(step, "run", 3, 1.7e9))
        (figures,) = scan_journal_lines(line)
        assert figures[1] == str(step.step).encode() and not figures[-1]
        assert list(list_whole_lines(line)) == [(line, True)]
    (beat,) = scan_journal_lines(encode_event(Event(Heartbeat(3, 5), "run", 3, 1.7e9)))
    assert (float(beat[-2]), beat[0], beat[-1]) == (1.7e9, b"", b"")


def test_a_step_costs_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def counting(line: bytes) -> Event | None:
        nonlocal count
        count += 1
        return decode_event_line(line)

    path = tmp_path / "events.jsonl"
    lines = [encode_event(Event(RunStarted(total_steps=5000), "r", 0, 1.7e9))]
    lines += [
        encode_event(Event(Step(n, 0.1, 1.0, 1e-4, 1.0), "r", n, 1.7e9 + n / 9)) for n in range(1, 5000)
    ]
    path.write_bytes(b"".join(lines))
    monkeypatch.setattr(headless, "decode_event_line", counting)
    for printer in (LinePrinter, RawPrinter):
        print_journal_lines(JournalReader(path), printer(lambda _line: None))
    assert count == 2, "the first line, once for each printer"


def test_sums_are_the_same_however_lines_are_spelt(tmp_path: Path) -> None:
    found = []
    for name in ("ours", "spaced"):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        lines = _journal(300, 4).splitlines(keepends=True)
        if name == "spaced":  # no line that the pattern fits
            lines = [json.dumps(json.loads(e.line)).encode() + b"\n" for e in _events(b"".join(lines))]
        folder.events_path.write_bytes(b"".join(lines))
        kept = asdict(update_tally(folder)[0])
        found.append({key: value for key, value in kept.items() if key not in ("offset", "head")})
    assert json.dumps(found[0]) == json.dumps(found[1])
    assert found[0]["paid_seconds"] > 0 and tally_module.CACHE


def test_heartbeats_alone_are_time_that_is_paid_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    lines = [encode_event(Event(Heartbeat(0, 1), "r", n, 1.7e9 + 5 * n)) for n in range(101)]
    folder.events_path.write_bytes(b"".join(lines))
    assert update_tally(folder)[0].paid_seconds == pytest.approx(500)


def test_of_a_long_journal_not_each_line_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    lines = [
        encode_event(Event(Step(n, 0.1, 1.0, 1e-4, 1.0), "r", n, 1.7e9 + 60 * n)) for n in range(1, 5001)
    ]
    path.write_bytes(b"".join(lines))
    assert step_lines.choose_step_interval(path) == step_lines.STEP_LINE_SECONDS
    monkeypatch.setattr(step_lines, "LONG_JOURNAL", 1 << 20)
    monkeypatch.setattr(step_lines, "MOST_STEP_LINES", 100)
    assert step_lines.choose_step_interval(path) == pytest.approx(60 * 4999 / 100)
    assert step_lines.choose_step_interval(tmp_path / "none") == step_lines.STEP_LINE_SECONDS


def test_a_journal_that_is_cut_or_replaced_is_read_from_its_beginning(tmp_path: Path) -> None:
    path, other = tmp_path / "events.jsonl", tmp_path / "other"
    first = [encode_event(Event(Log(f"first {n}"), "r", n, 1.7e9)) for n in range(5)]
    second = [encode_event(Event(Log(f"second {n}"), "r", n, 1.7e9)) for n in range(9)]
    path.write_bytes(b"".join(first))
    reader = JournalReader(path)
    assert len(reader.read_events()) == 5 and reader.read_events() == []
    other.write_bytes(b"".join(second))
    other.replace(path)  # longer than what was read
    assert len(reader.read_events()) == 9
    path.write_bytes(first[0])
    assert len(reader.read_events()) == 1
    path.unlink()
    assert reader.read_events() == []


def test_a_line_without_an_end_is_passed_over_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.runs import journal

    monkeypatch.setattr(journal, "LONGEST_LINE", 1000)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 5000 + b"\n" + encode_event(Event(Log("after"), "r", 1, 1.7e9)))
    out: list[str] = []
    monkeypatch.setattr(headless, "READ_AT_ONCE", 100)
    print_journal_lines(JournalReader(path), LinePrinter(out.append))
    assert len(out) == 1 and out[0].endswith("after")
