"""How far a phase is: what is counted, how fast it goes, and what is left, in words and as lines."""

from __future__ import annotations

from tui_tuner.headless import LinePrinter
from tui_tuner.runs.events import Event, Finished, Heartbeat, Phase, RunStarted
from tui_tuner.runs.phases.progress import PhaseProgress, format_counted_progress, format_phase_progress
from tui_tuner.runs.wire import decode_event_line, encode_event

MIB = 2**20


def after(*events: tuple[float, Phase]) -> PhaseProgress:
    found = PhaseProgress()
    for time, body in events:
        found = found.take_event(body, time)
    return found


def fetched(done: int) -> Phase:
    return Phase("fetching", done * MIB, 1024 * MIB, "qwen", unit="bytes")


def test_a_unit_goes_through_the_journal_and_older_lines_have_none():
    event = Event(Phase("fetching", 3, 9, "qwen", unit="bytes"), "run", 4, 12.0)
    assert decode_event_line(encode_event(event)).body == event.body
    assert b"unit" not in encode_event(Event(Phase("loading"), "run", 1, 1.0))
    old = b'{"v":1,"run":"r","seq":0,"time":1,"rank":0,"kind":"phase","name":"loading","done":1,"total":2}'
    assert decode_event_line(old).body == Phase("loading", 1, 2)


def test_bytes_are_told_with_speed_and_time_left():
    found = after(*((100.0 + second, fetched(100 + 10 * second)) for second in range(11)))
    assert format_phase_progress(found, 110.0) == "200.0 MiB of 1.0 GiB, 10.0 MiB/s, ~1 min 20 s left"
    assert format_counted_progress(after((0, fetched(512)), (1, fetched(1023)))) == "1023.0 MiB of 1.0 GiB"


def test_what_was_there_already_is_not_counted_as_speed():
    found = after((10.0, fetched(1000)), (14.0, fetched(1004)))
    assert found.measure_speed() == MIB
    assert found.seconds_left(14.0) == 20.0
    assert found.seconds_left(24.0) == 10.0, "the time left goes on between two counts"


def test_the_speed_is_that_of_the_last_seconds():
    slow = [(float(second), fetched(second)) for second in range(0, 100)]
    fast = [(100.0 + second, fetched(100 + 20 * second)) for second in range(0, 30)]
    assert after(*slow, *fast).measure_speed() == 20 * MIB


def test_counts_without_a_total_and_of_units_that_nobody_knows():
    assert format_phase_progress(
        after((1, Phase("tokenizing", unit="rows")), (4, Phase("tokenizing", 300, unit="rows"))), 4.0
    ) == ("300 rows, 100 rows/s, for 3 s")
    assert (
        format_counted_progress(after((0, Phase("loading", 2, 5, unit="shards\x1b[2J"))))
        == "2 of 5 shards␛[2J"
    )
    assert format_phase_progress(after((1, Phase("loading", note="model"))), 13.4) == "for 12 s"


def test_a_number_that_moves_in_the_note_begins_nothing_new():
    first = Phase("sampling", 0, 4, "12 tokens", unit="prompts")
    found = after((1.0, first), (9.0, Phase("sampling", 1, 4, "3 tokens", unit="prompts")))
    assert (found.began, found.seconds_since(9.0)) == (1.0, 8.0)
    assert after((1.0, first), (9.0, Phase("sampling", 0, 4, "after", unit="prompts"))).began == 9.0


def test_a_line_printer_tells_a_long_phase_in_few_lines():
    lines: list[str] = []
    printer = LinePrinter(lines.append)
    printer.feed_events([Event(RunStarted(device="CPU"), "run", 0, 1000.0)])
    printer.feed_events([Event(Phase("loading", note="model"), "run", 1, 1000.0)])
    printer.feed_events([Event(Heartbeat(), "run", 2 + beat, 1005.0 + 5 * beat) for beat in range(20)])
    said = [line.split("  ", 1)[1] for line in lines[1:]]
    assert said[:3] == ["loading: model", "loading: model: for 5 s", "loading: model: for 10 s"]
    assert said[-1].startswith("loading: model: for 1 min")
    assert len(said) < 18, "the longer it takes, the rarer are the lines"
    printer.feed_events([Event(fetched(count), "run", 30 + count, 1200.0 + count / 2) for count in range(40)])
    told = [line.split("  ", 1)[1] for line in lines if "fetching" in line]
    assert told == [
        "fetching: qwen",
        "fetching: qwen: 10.0 MiB of 1.0 GiB, 2.0 MiB/s, ~8 min 30 s left",
        "fetching: qwen: 20.0 MiB of 1.0 GiB, 2.0 MiB/s, ~8 min 20 s left",
        "fetching: qwen: 30.0 MiB of 1.0 GiB, 2.0 MiB/s, ~8 min 20 s left",
    ]
    printer.feed_events(
        [Event(Finished("completed", 0), "run", 90, 1300.0), Event(Heartbeat(), "run", 91, 1400.0)]
    )
    assert "completed" in lines[-1]
