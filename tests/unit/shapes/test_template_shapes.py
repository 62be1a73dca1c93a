"""Chats of every kind through chat templates of every shape, against what the shape itself says is right.

What is right, where one may doubt it:

- Reasoning counts as written where a key of the three, or (in templates that look into the text) `<think>` in
  the text, brings it into the answer. The spelling that writes most has to be used; no template needs more.
- Reasoning, or the words beside a call, that no spelling brings into the answer are left out and counted.
- A call that is not in the answer, or an answer none of whose pieces is, drops the row with that reason; so
  does a turn of nothing but reasoning where that is left out: an empty answer and its stop teach nothing.
- What all spellings make the template refuse is dropped as refused by it; an empty system turn is no reason.
- A stop is an eos, what the generation config ends with, or the template's own; a sequence of them is trained
  whole. Where the chat ends without one, one of them is put in and counted. An answer in the middle of a chat
  that the template writes no stop for stays without and is counted as unstopped.
- Behind a generation prompt that the chat does not have in its place (`<think>`), the header is not trained,
  all from the answer's own text on is, and what is in between may be.
- A header that the generation config names as a stop may be trained behind an answer, or not.
- White space that the template writes between an answer's words and its stop is the answer's.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from chat_rows import KINDS, Row
from template_parts import CLOSE, MAY_CLOSE, MAY_OPEN, OPEN, Shape
from template_shapes import all_shapes
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.examples.record_encoder import RowEncoder, RowFacts
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.demo import MODEL_DIR
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import ExampleCollector

KEYS = ("reasoning_content", "reasoning", "thinking")
THOUGHT = re.compile(r"<think>\n(.*?)\n</think>\n\n(.*)", re.DOTALL)
SHAPES = all_shapes()


# ---- what is right ----------------------------------------------------------------------------------------


@dataclass
class Truth:
    """A chat in one spelling: its text, where each answer is in it, and what may or may not be trained."""

    text: str
    spans: list[tuple[int, int]]
    may: list[tuple[int, int]]
    pieces: list[set[tuple[str, str]]]
    wanted: bool = True

    def lost(self) -> list[set[tuple[str, str]]]:
        """The pieces of each answer that are not inside of it."""
        return [
            {(kind, piece) for kind, piece in pieces if piece not in self.text[start:end]}
            for (start, end), pieces in zip(self.spans, self.pieces, strict=True)
        ]

    def written(self) -> int:
        return sum(map(len, self.pieces)) - sum(map(len, self.lost()))


def _answers(row: Row) -> list[dict[str, Any]]:
    return [turn for turn in row["messages"] if turn["role"] == "assistant"]


def spellings(row: Row) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
    """The turns of a row as a template may want them, and the key that reasoning is under."""
    reasons = any(key in turn for turn in row["messages"] for key in KEYS) or "<think>" in json.dumps(row)
    calls = any("tool_calls" in turn for turn in row["messages"])
    empty = [turn for turn in row["messages"] if turn["role"] == "system" and not turn["content"]]
    for key, as_text, without in itertools.product(
        (None, *KEYS, "inside") if reasons else (None,),
        (False, True)[: 1 + calls],
        ((), empty)[: 1 + bool(empty)],
    ):
        yield [_spelt(turn, key, as_text) for turn in row["messages"] if turn not in without], key


def _spelt(turn: dict[str, Any], key: str | None, as_text: bool) -> dict[str, Any]:
    content = turn["content"] or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    found = {"role": turn["role"], "content": content}
    found |= {name: turn[name] for name in (*KEYS, "name", "tool_call_id") if name in turn}
    if "tool_calls" in turn:
        found["tool_calls"] = [_call(call, as_text) for call in turn["tool_calls"]]
    inside = THOUGHT.fullmatch(content)
    reasoning = inside[1] if inside else next((turn[name] for name in KEYS if name in turn), "")
    if not reasoning or key is None:
        return found
    found = {name: value for name, value in found.items() if name not in KEYS}
    rest = inside[2] if inside else content
    if key == "inside":
        return {**found, "content": f"<think>\n{reasoning}\n</think>\n\n{rest}"}
    return {**found, "content": rest, key: reasoning}


def _call(call: dict[str, Any], as_text: bool) -> dict[str, Any]:
    function, arguments = call["function"], call["function"]["arguments"]
    return {**call, "function": {**function, "arguments": arguments if as_text else json.loads(arguments)}}


def _pieces(turn: dict[str, Any]) -> set[tuple[str, str]]:
    """What the model is to learn of a turn of a row."""
    content = turn["content"] or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    inside = THOUGHT.fullmatch(content)
    found = {("reasoning", turn[key]) for key in KEYS if key in turn}
    found |= {("reasoning", inside[1])} if inside else set()
    found |= {("content", (inside[2] if inside else content).strip())} - {("content", "")}
    for call in turn.get("tool_calls", ()):
        found |= {("call", call["function"]["name"])}
        found |= {("call", str(value)) for value in json.loads(call["function"]["arguments"]).values()}
    return found


def truths(shape: Shape, tokenizer: Any, row: Row) -> list[Truth]:
    """The chat in each spelling that the template takes."""
    found = []
    pieces = [_pieces(turn) for turn in _answers(row)]
    for messages, key in spellings(row):
        if shape.parts:
            messages = [_in_parts(turn) for turn in messages]
        try:
            marked = tokenizer.apply_chat_template(
                messages, row.get("tools"), chat_template=shape.marked, tokenize=False
            )
        except Exception:  # whatever a template raises, it refuses this spelling
            continue
        spans, may, text = _unmarked(marked)
        found.append(Truth(text, spans, may, pieces, key != "inside" or shape.inside))
    return found


def _in_parts(turn: dict[str, Any]) -> dict[str, Any]:
    return {**turn, "content": [{"type": "text", "text": turn["content"]}]}


def _unmarked(marked: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]], str]:
    """The ranges of what is the model's and of what may be, and the text without marks."""
    ranges: dict[str, list[tuple[int, int]]] = {CLOSE: [], MAY_CLOSE: []}
    opened: dict[str, int] = {}
    text = ""
    for part in re.split("([⟦⟧⟨⟩])", marked.replace(CLOSE + OPEN, "")):
        if part in (OPEN, MAY_OPEN):
            opened[CLOSE if part == OPEN else MAY_CLOSE] = len(text)
        elif part in ranges:
            ranges[part].append((opened[part], len(text)))
        else:
            text += part
    return ranges[CLOSE], ranges[MAY_CLOSE], text


# ---- what is done -----------------------------------------------------------------------------------------


@dataclass
class Done:
    """What became of a row."""

    outcome: str
    reason: str
    ids: list[int]
    trained: list[bool]
    facts: RowFacts


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReadRow]:
    """Each row as it is read from a file of its own."""
    folder = tmp_path_factory.mktemp("rows")
    found = {}
    for kind, row in KINDS.items():
        path = folder / f"{kind}.jsonl"
        path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        [found[kind]] = DataReading(DataSection(path=str(path)))
    return found


@cache
def _tokenizer(specials: tuple[str, ...], eos: str, added: tuple[str, ...]) -> Any:
    """The demo's, with the markers of a template as tokens."""
    inner = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    inner.add_special_tokens(list(specials))
    inner.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=eos)


def tokenizer_of(shape: Shape) -> Any:
    tokenizer = _tokenizer(shape.specials, shape.eos, tuple(shape.added))
    tokenizer.chat_template = shape.template
    return tokenizer


def done(shape: Shape, tokenizer: Any, read: ReadRow, folder: Path) -> Done:
    """One row taken all the way to an example."""
    ends = [tokenizer.convert_tokens_to_ids(end) for end in shape.generation_ends]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    config = RunConfig(task="sft", model=ModelSection(name=str(folder)), data=DataSection(max_length=4096))
    collected, ledger, task = ExampleCollector(), Ledger(), find_task("sft")
    if read.record is None:
        return Done("dropped", str(read.problem), [], [], RowFacts())
    rows = RowEncoder(task.make_encoder(config, tokenizer))
    rows.encode_rows([read], collected, ledger)
    outcome = next(name for name, count in ledger.outcomes.items() if count)
    reason = "".join(noted.reason for noted in ledger.list_reasons(outcome))
    ids = [int(token) for example in collected.examples for token in example.ids]
    trained = [bool(flag) for example in collected.examples for flag in task.trained_mask(example)]
    return Done(outcome, reason, ids, trained, rows.facts)


# ---- the comparison ---------------------------------------------------------------------------------------


def wrong(shape: Shape, tokenizer: Any, row: Row, got: Done) -> str:
    """What is wrong with a row, in words; empty if nothing is."""
    found = truths(shape, tokenizer, row)
    reason = _reason_to_drop(shape, found)
    if reason:
        right = got.outcome == "dropped" and re.search(reason, got.reason)
        return "" if right else f"to be dropped ({reason}), but {got.outcome}: {got.reason}"
    if got.outcome != "kept":
        return f"{got.outcome}: {got.reason}"
    best = max(truth.written() for truth in found if truth.wanted)
    for truth in found:
        for text, added in _endings(shape, truth):
            if truth.written() >= best and _ids(tokenizer, text)["input_ids"] == got.ids:
                return _mask_wrong(tokenizer, truth, text, added, row, got) or _said_wrong(
                    shape, truth, text, added, row, got
                )
    return f"the text is none of those it should be: {tokenizer.decode(got.ids)!r}"


def _reason_to_drop(shape: Shape, found: list[Truth]) -> str:
    """A pattern of the reason that a row must be dropped for; empty if it must not."""
    found = [truth for truth in found if truth.wanted]
    if not found:
        return "chat template"
    best = max(found, key=Truth.written)
    untold = "|template refuses" if shape.parts else ""  # an empty text has no parts to give
    if any(kind == "call" for lost in best.lost() for kind, _unused in lost):
        return "tool calls" + untold
    if any(lost and lost == pieces for lost, pieces in zip(best.lost(), best.pieces, strict=True)):
        return "answer" + untold
    return ""


def _ids(tokenizer: Any, text: str) -> Any:
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)


def _endings(shape: Shape, truth: Truth) -> Iterator[tuple[str, str]]:
    """The text, with a stop put behind its last answer if that has none; and that stop."""
    start, end = truth.spans[-1]
    open_end = not truth.text[start:end].endswith(shape.stops) and not truth.text[end:].strip()
    if not open_end:
        yield truth.text, ""
    for stop in shape.stops if open_end else ():
        yield truth.text[:end] + stop + truth.text[end:], stop


def _mask_wrong(tokenizer: Any, truth: Truth, text: str, added: str, row: Row, got: Done) -> str:
    answers = _answers(row)
    must, may = [False] * len(text), [False] * len(text)
    ends = [*(end for _unused, end in truth.spans[:-1]), truth.spans[-1][1] + len(added)]
    for (start, _unused), end, answer in zip(truth.spans, ends, answers, strict=True):
        must[start:end] = [answer.get("train", True)] * (end - start)
    # White space in front of an answer to nobody may be the template's or the model's.
    first = truth.spans[:1] if row["messages"][0] is answers[0] else []
    front = [(start, end - len(text[start:end].lstrip())) for start, end in first]
    for start, end in (*truth.may, *front):
        must[start:end] = [False] * (end - start)
        may[start:end] = [True] * (end - start)
    reached, bad = 0, []
    for place, (start, end) in enumerate(_ids(tokenizer, text)["offset_mapping"]):
        start, reached = min(start, reached), max(reached, end)
        if not place:
            continue
        if any(must[start:end]) and not got.trained[place]:
            bad.append(f"untrained: {text[start:end]!r}")
        elif got.trained[place] and not any(must[start:end]) and not any(may[start:end]):
            bad.append(f"trained: {text[start:end]!r}")
    return ", ".join(bad)


def _said_wrong(shape: Shape, truth: Truth, text: str, added: str, row: Row, got: Done) -> str:
    """What is left out or put in has to be counted, and nothing else."""
    lost = {kind for lost in truth.lost() for kind, _unused in lost}
    names = [tool["function"]["name"] for tool in row.get("tools", ())]
    systems = [turn["content"] for turn in row["messages"] if turn["role"] == "system"]
    should = {
        "reasoning_left_out": "reasoning" in lost,
        "content_left_out": "content" in lost,
        "tools_left_out": bool(names) and "Rings it." not in truth.text,
        "system_left_out": any(system not in truth.text for system in systems),
        "stop_added": bool(added),
    }
    said = {name: bool(got.facts.get_count(name)) for name in should}
    if said != should:
        return f"counted {said}, should be {should}"
    ends = [*(end for _unused, end in truth.spans[:-1]), truth.spans[-1][1] + len(added)]
    flags = [turn.get("train", True) for turn in _answers(row)]
    stopped = [
        text[start:end].endswith(shape.stops)
        for (start, _unused), end, train in zip(truth.spans, ends, flags, strict=True)
        if train
    ]
    loose = {start for start, _unused in truth.may} & set(ends)
    counted = got.facts.get_count("answers"), got.facts.get_count("stopped")
    if counted not in {(len(stopped), sum(stopped) + more) for more in range(len(loose) + 1)}:
        return f"answers and stopped ones {counted}, should be {len(stopped), sum(stopped)}"
    return ""


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_kind_of_row_is_trained_right_or_dropped_for_a_true_reason(
    shape: Shape, reads: dict[str, ReadRow], tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(shape)
    (tmp_path / "config.json").write_text("{}")
    found = {
        kind: wrong(shape, tokenizer, row, done(shape, tokenizer, reads[kind], tmp_path))
        for kind, row in KINDS.items()
    }
    bad = [f"{kind}: {what}" for kind, what in found.items() if what]
    assert not bad, "\n".join([shape.marked, *bad])


def test_the_shapes_are_many_and_each_is_another() -> None:
    assert len(SHAPES) >= 100
    assert len({(shape.template, shape.eos) for shape in SHAPES}) == len(SHAPES)


def test_most_rows_are_trained() -> None:
    """The shapes would be no test if most of them refused most rows."""
    kept = [
        not _reason_to_drop(shape, truths(shape, tokenizer_of(shape), row))
        for shape in SHAPES
        for row in KINDS.values()
    ]
    assert sum(kept) > 0.7 * len(kept)
