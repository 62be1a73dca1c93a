"""Events as lines: what was said comes back, what is damaged or new is survived, and no number is made up."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import tui_tuner
from tui_tuner.cli import history_commands as history_cli
from tui_tuner.config.schema import RunConfig
from tui_tuner.headless import LinePrinter, RawPrinter
from tui_tuner.launch.proof import compare_proof_runs
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.runs import events
from tui_tuner.runs.events import (
    Bottleneck,
    CheckpointSaved,
    CommandDone,
    Evaluation,
    EvaluationTable,
    Event,
    EventBody,
    Finished,
    Heartbeat,
    HeldOutRows,
    Kernels,
    Log,
    Memory,
    ModelSource,
    OutOfMemory,
    Phase,
    Resolved,
    RolledBack,
    RowLedger,
    RunDuration,
    RunStarted,
    Sample,
    Step,
    Unknown,
    Verdict,
    VocabularyGrown,
    Warned,
)
from tui_tuner.runs.history import summarise_run
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.journal_tally import update_tally
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.runs.wire import KINDS, decode_event_line, encode_event, list_event_fields
from tui_tuner.ui.loglines import make_log_line

EXAMPLES: tuple[EventBody, ...] = (
    RunStarted({"task": "sft", "model": {"name": "x"}}, {"torch": "2.13"}, "CPU", 17, 4, 90),
    Phase("tokenizing", 40, None, "rows"),
    Resolved("training.optimizer", "adamw", "it fits"),
    ModelSource("model", "org/name", "hub", "/cache/snapshots/abc", "abc"),
    Resolved("data.packing", True),
    RowLedger(
        9, {"kept": 8, "dropped": 1}, 8, {"training_pieces": 8}, True, [{"count": 1}], [], ["a"], {"read": 2}
    ),
    VocabularyGrown(500, 152_436, 3.1, 4.2, 3.0, 3.9, [" polymerase", "plasmid"]),
    Step(3, 0.5, 1.25, 1e-4, 0.7, 900, 1000, 450.5, 1, 2, 2.0, {"margin": 0.5, "accuracy": None}),
    Step(4),
    Step(5, mfu=0.41, gpu_busy=0.0),
    Kernels([{"part": "attention", "kernel": "varlen_attn", "why": "", "layers": 32}]),
    Bottleneck(
        "processor", "it waits", "raise it", 40, 0.41, None, 0.5, "raise", [{"training.batch_size": 32}]
    ),
    Bottleneck(),
    Memory(1, 2, 3, 4, 5, None, -0.125, True),
    RunDuration(60.0, 50.0, 70.0, 1.5, 2.0, 2.5, 0.25, 3, "steps"),
    Evaluation(6, "after", {"bleu": 0.5, "loss": None}, 12),
    HeldOutRows(6, [0.5, 1.25], [9, 11]),
    Verdict(6, "overfit", 4, 0.93, ["it rose"], [{"words": "stop", "values": {"training.epochs": 2}}], True),
    EvaluationTable(6, "confusion", ["a", "b"], ["a", "b"], [[3, 1], [None, 0.5]]),
    CheckpointSaved(6, "checkpoints/step-6", True, 2**40, 0.5, 0.25),
    Sample(6, 1, "after", "prompt", "nan", "inf", True),
    Sample(
        6,
        2,
        "before",
        "who?",
        "Ann",
        "Bo",
        True,
        "Ann met Bo.",
        [{"start": 0, "end": 3, "label": "PER", "score": 0.5}],
        [{"start": 8, "end": 10, "label": "PER", "score": None}],
        [["Ann", 0.5], ["", 0.25]],
    ),
    Warned("code", "message\n", "hint"),
    OutOfMemory(6, "forward", (4, 2), "message"),
    Log("message", "info"),
    Heartbeat(6, 2**33),
    RolledBack(4),
    CommandDone("pause"),
    Finished("stopped", 130, "message", "hint"),
    Unknown("hologram", {"depth": [1, 2], "step": 4}),
)
CLASSES = [kind for kind in vars(events).values() if is_dataclass(kind) and issubclass(kind, EventBody)]


def test_there_is_an_example_of_every_class_and_each_has_a_kind_of_its_own() -> None:
    assert {type(body) for body in EXAMPLES} == set(CLASSES)
    kinds = [kind.KIND for kind in CLASSES if kind is not Unknown]
    assert len(set(kinds)) == len(kinds) and set(kinds) == KINDS and "" not in kinds


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: type(body).__name__)
def test_what_was_said_comes_back(body: EventBody) -> None:
    event = Event(body, "run", 7, 1.5, 1)
    line = encode_event(event)
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    assert list(json.loads(line))[:6] == ["v", "run", "seq", "time", "rank", "kind"]
    found = decode_event_line(line)
    assert found == event and type(found.body) is type(body)  # type: ignore[union-attr]
    assert encode_event(found) == line  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(found.body, fields(body)[0].name, 1)  # type: ignore[union-attr,arg-type]


def test_lines_are_those_of_version_0_1() -> None:
    fixture = Path(__file__).parents[1] / "fixtures" / "runs-0.1"
    for path in fixture.glob("*/events.jsonl"):
        for line in path.read_bytes().splitlines():
            event = decode_event_line(line)
            assert event is not None and not isinstance(event.body, Unknown), line
            old, new = json.loads(line), json.loads(encode_event(event))
            assert {name: new[name] for name in old} == old, line


def test_the_metrics_of_an_objective_take_no_room_where_there_are_none() -> None:
    assert "metrics" not in list_event_fields(Step(1)) and list_event_fields(Step(1, metrics={"a": 1.0}))[
        "metrics"
    ] == {"a": 1.0}
    assert (
        "rows" not in list_event_fields(Evaluation(1)) and list_event_fields(Evaluation(1))["metrics"] == {}
    )
    short = decode_event_line(b'{"kind":"step","step":1,"metrics":{"a":1,"b":"nan","c":"x"}}')
    assert short is not None and isinstance(short.body, Step)
    assert short.body.metrics["a"] == 1.0 and math.isnan(short.body.metrics["b"] or 0)
    assert short.body.metrics["c"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: type(body).__name__)
def test_numbers_that_json_has_not_come_back_as_numbers(body: EventBody, value: float) -> None:
    hints = get_type_hints(type(body))
    names = [name for name, hint in hints.items() if hint in (float, float | None)]
    changes: dict[str, Any] = dict.fromkeys(names, value)
    if isinstance(body, Step | Evaluation):
        changes["metrics"] = {"loss": value}
    line = encode_event(Event(replace(body, **changes)))
    written = json.loads(line)
    assert all(written[name] in (f"{value:f}", {"loss": f"{value:f}"}) for name in changes)
    found = decode_event_line(line)
    assert found is not None
    for name in names:
        assert repr(getattr(found.body, name)) == repr(value)
    if "metrics" in changes:
        assert repr(found.body.metrics) == repr({"loss": value})  # type: ignore[attr-defined]


def test_text_that_looks_like_a_number_stays_text() -> None:
    said = decode_event_line(encode_event(Event(Sample(1, prompt="inf", text="nan", reference="-inf"))))
    assert said is not None and said.body == Sample(1, prompt="inf", text="nan", reference="-inf")
    where = decode_event_line(encode_event(Event(Resolved("field", math.inf, "nan"))))
    assert where is not None and where.body == Resolved("field", "inf", "nan")


def test_numbers_of_numpy_are_numbers() -> None:
    step = Step(np.int64(3), loss=np.float32(0.5), metrics={"a": np.float32("nan"), "b": np.float64(2)})  # type: ignore[arg-type]
    event = decode_event_line(encode_event(Event(step)))
    assert event is not None and repr(event.body) == repr(
        Step(3, loss=0.5, metrics={"a": math.nan, "b": 2.0})
    )


def test_the_null_of_an_older_journal_is_no_number() -> None:
    event = decode_event_line(
        b'{"kind":"step","step":3,"loss":null,"grad_norm":null,"learning_rate":null,"seconds":null}'
    )
    assert event is not None and event.body == Step(3)
    event = decode_event_line(b'{"kind":"evaluation","step":3,"metrics":{"loss":null,"perplexity":2}}')
    assert event is not None and event.body == Evaluation(3, metrics={"loss": None, "perplexity": 2.0})


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ('"kind":"step","step":"three"', Unknown("step", {"step": "three"})),
        ('"kind":"step","loss":1.0', Unknown("step", {"loss": 1.0})),
        ('"kind":"step","step":true', Unknown("step", {"step": True})),
        ('"kind":"step","step":3.0,"loss":"low","seconds":"nan ","tokens":"nan"', Step(3)),
        ('"kind":"step","step":3,"loss":true,"metrics":[1],"tokens":[2]', Step(3)),
        ('"kind":"step","step":3,"loss":2,"tokens":1.5,"new_field":{"a":1}', Step(3, loss=2.0)),
        ('"kind":"finished","status":5,"exit_code":"x","message":null,"hint":["h"]', Finished("5")),
        ('"kind":"finished"', Finished("failed")),
        ('"kind":"phase","name":null,"total":"many"', Phase("", total=None)),
        ('"kind":"warning"', Warned("", "")),
        ('"kind":"run_started","config":[],"versions":7,"resumed_from":"4"', RunStarted()),
        ('"kind":"ledger","outcomes":3,"reasons":{},"validation":"x","closes":"x"', RowLedger()),
        ('"kind":"out_of_memory","micro_batch":[4,"x"]', OutOfMemory(micro_batch=(4, 0))),
        ('"kind":"out_of_memory","micro_batch":[4]', OutOfMemory()),
        ('"kind":"duration","seconds":null,"low":1,"high":2', None),
        ('"kind":"hologram","run":"r","depth":2', Unknown("hologram", {"depth": 2})),
        ('"kind":"Step","step":3', Unknown("Step", {"step": 3})),
    ],
)
def test_damage_costs_the_field_or_the_event_and_raises_nothing(line: str, body: EventBody | None) -> None:
    event = decode_event_line(f'{{"v":3,"seq":5,"time":2.5,{line}}}'.encode())
    assert event is not None and (event.seq, event.time, event.version) == (5, 2.5, 3)
    assert event.body == body if body is not None else isinstance(event.body, Unknown)


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"5", b"{}", b'{"kind":["step"]}', b'{"kind":null}', b'{"kind":"step","st', b"\xff\x00",
     b'{"kind":"log","message":"m","seq":[1]}', b'{"kind":"log","message":"m","rank":null}',
     b'{"kind":"log","message":"m","run":' + b"[" * 1000 + b"]" * 1000 + b"}"],
)  # fmt: skip
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert decode_event_line(line) is None


def test_a_time_that_no_clock_shows_is_no_time() -> None:
    for time in (b"1e300", b"-5", b'"nan"', b"null", b"[1]", b"true"):
        event = decode_event_line(b'{"kind":"log","message":"m","time":' + time + b"}")
        assert event is not None and event.time == 0.0
        LinePrinter(lambda line: None).feed_events([event])


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["nan", "inf", "-inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = sorted(
    {item.name for kind in CLASSES for item in fields(kind)} | {"v", "run", "seq", "time", "rank"}
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*sorted(KINDS), "hologram"]), st.dictionaries(st.sampled_from(_NAMES), _VALUES))
def test_no_reader_minds_any_value_of_any_field(tmp_path: Path, kind: str, values: dict[str, Any]) -> None:
    usual = {"step": 1, "seconds": 1.0, "low": 1.0, "high": 1.0} if len(values) % 2 else {}
    lines = [
        b'{"kind":"run_started","time":5,"total_steps":3}',
        json.dumps({**usual, "kind": kind, **values}).encode(),
    ]
    found = [event for line in lines if (event := decode_event_line(line))]
    for event in found:
        _holds_its_types(event.body)
    again = [event for item in found if (event := decode_event_line(encode_event(item)))]
    assert [encode_event(event) for event in again] == [encode_event(event) for event in found]
    for phase in ("", "training"):
        [make_log_line(event, phase) for event in found]
    fold_view_events(fold_view_events(RunView(), found), found)
    for printer in (LinePrinter([].append), RawPrinter([].append)):
        printer.feed_events(found * 2)
    folder = RunFolder(tmp_path)
    folder.events_path.write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / ".summary.json").unlink(missing_ok=True)
    update_tally(folder)
    assert folder.find_state() in ("lost", "new", *_ends(found))


def _ends(found: list[Event]) -> list[str]:
    return [event.body.status for event in found if isinstance(event.body, Finished)]


def _holds_its_types(body: EventBody) -> None:
    """Each field holds what its annotation says."""
    for name, hint in get_type_hints(type(body)).items():
        value = getattr(body, name)
        if hint == Mapping[str, float | None]:
            assert all(type(item) in (float, type(None)) for item in value.values()), (body, name)
        elif name != "KIND" and hint is not Any:
            kinds = [getattr(part, "__origin__", part) for part in getattr(hint, "__args__", ()) or (hint,)]
            kinds = [hint.__origin__] if hasattr(hint, "__origin__") else kinds
            assert isinstance(value, tuple(kinds)), (body, name)


def test_a_newer_versions_lines_are_printed_as_they_are(tmp_path: Path) -> None:
    text = '{"v":2,"kind":"step","step":1,"loss":null,"flow":{"a":1}}\n{"v":2,"kind":"hologram","depth":2}\n'
    (tmp_path / "e").write_text(text)
    lines: list[str] = []
    RawPrinter(lines.append).feed_events(JournalReader(tmp_path / "e").read_events())
    assert lines == text.splitlines()
    lines.clear()
    RawPrinter(lines.append).feed_events([Event(Step(1, loss=math.nan))])
    assert json.loads(lines[0])["loss"] == "nan"


def _journal(folder: RunFolder, losses: list[float], validation: list[float]) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(total_steps=len(losses)))
    for step, loss in enumerate(losses, 1):
        journal.emit(
            Step(step, loss=loss, seconds=1.0 if math.isfinite(loss) else loss, metrics={"gap": loss})
        )
    for step, loss in enumerate(validation, 1):
        journal.emit(Evaluation(step, "validation", {"loss": loss, "accuracy": loss}))
    journal.close()


def test_nan_is_said_and_never_the_best(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(RunConfig.model_validate({"output": {"name": "r"}}))
    _journal(folder, [2.0, 1.0, math.nan], [math.nan, 1.5, 1.25, -math.inf, math.inf])
    for _ in range(2):  # read, then taken from what was kept
        row = summarise_run(folder)
        assert math.isnan(row["loss"]) and (row["best"], row["best_validation_loss"]) == (1.25, 1.25)
        assert row["training_seconds"] == 2.0
        assert update_tally(folder)[0].best_value("accuracy") == 1.5
    listed = CliRunner().invoke(history_cli.app, ["--runs", str(tmp_path), "--json"])
    assert json.loads(listed.output)[0]["loss"] == "nan"
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(JournalReader(folder.events_path).read_events())
    text = "\n".join(lines)
    assert "loss nan" in text and "gap nan" in text and "accuracy inf" in text and "loss -inf" in text


def test_a_nan_is_equal_to_itself_when_runs_are_compared(tmp_path: Path) -> None:
    folders = [RunFolder(tmp_path / name) for name in "abc"]
    for folder, last in zip(folders, (math.nan, math.nan, 1.0), strict=True):
        _journal(folder, [1.0, last], [last])
        folder.last_path.mkdir()
        (folder.last_path / "model.safetensors").write_bytes(b"w")
    assert compare_proof_runs(folders[0], folders[1]).is_exact
    assert [text.split(":")[0] for text in compare_proof_runs(folders[0], folders[2]).differences] == [
        "step 2", "step 2", "evaluation at step 1"
    ]  # fmt: skip


def test_a_step_that_took_no_time_one_can_tell_does_not_upset_the_watchdog(tmp_path: Path) -> None:
    said: list[EventBody] = []

    class Kept:
        def emit(self, body: EventBody) -> None:
            said.append(body)

    watchdog = Watchdog(Kept(), tmp_path, least=1.0, factor=2.0)
    for seconds in (math.nan, 3.0, math.inf):
        watchdog.emit(Step(1, seconds=seconds))
    assert watchdog.compute_limit() == 6.0 and len(said) == 3


def test_only_one_module_knows_kinds_by_name() -> None:
    """Everybody else tells events apart by their class."""
    root = Path(tui_tuner.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root) == Path("runs/wire.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if _asks_for_a_kind(node):
                found.append(f"{path.relative_to(root)}:{node.lineno}")  # type: ignore[attr-defined]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'event.kind == "step"',
        '"step" != kind',
        'event.get("kind") in ("a", "log")',
        'line["kind"] == "finished"',
        'body.KIND in {"phase"}',
        'sink.emit("step", step=1)',
        'HANDLERS = {"step": a, "phase": b, "log": c}',
        'match event.kind:\n case "step": pass',
    ],
)
def test_the_search_for_names_of_kinds_finds_them(code: str) -> None:
    assert any(_asks_for_a_kind(node) for node in ast.walk(ast.parse(code)))


def _asks_for_a_kind(node: ast.AST) -> bool:
    """Whether code compares a `kind` with the name of one, emits by name, or keeps a table by names."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(map(_is_kind, sides)) and any(name in KINDS for side in sides for name in _texts(side))
    if isinstance(node, ast.Match):
        patterns = [text for case in node.cases for text in _texts(case.pattern)]
        return _is_kind(node.subject) and any(text in KINDS for text in patterns)
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        return called == "emit" and any(text in KINDS for item in node.args[:1] for text in _texts(item))
    if isinstance(node, ast.Dict):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        return len(keys) > 2 and sum(key in KINDS for key in keys) > len(keys) / 2
    return False


def _is_kind(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):  # event.get("kind")
        return any(isinstance(item, ast.Constant) and item.value == "kind" for item in node.args)
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "kind"
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lower() == "kind"


def _texts(node: ast.AST) -> list[str]:
    constants = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def test_a_field_added_to_a_kind_has_a_default() -> None:
    """What version 0.1 wrote always; a field beyond these would turn its lines into Unknown."""
    needed = {
        (kind.KIND, item.name)
        for kind in CLASSES
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING and kind is not Unknown
    }
    assert needed == {
        ("phase", "name"), ("resolved", "field"), ("resolved", "value"), ("step", "step"),
        ("duration", "seconds"), ("duration", "low"), ("duration", "high"),
        ("evaluation", "step"), ("table", "step"), ("checkpoint", "step"),
        ("sample", "step"), ("warning", "code"), ("warning", "message"), ("log", "message"),
        ("rolled_back", "step"), ("command", "command"), ("held_out_rows", "step"), ("verdict", "step"),
    }  # fmt: skip
