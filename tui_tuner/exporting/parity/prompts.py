"""The prompts that a model and its export are compared on: held-out rows, else a few neutral texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.runs.events import Sample
from tui_tuner.runs.wire import decode_event_line

LEAST = 8
MOST_TOKENS = 384  # of one prompt; longer ones are left out
_BYTES = 1 << 22  # of a journal, whose first samples are near its beginning
_LARGEST = 256 << 20  # bytes of data that are read again for their held-out rows

NEUTRAL = (
    "What is the capital of France, and how many people live there?",
    "Write one sentence about the weather in autumn.",
    "List three fruits, separated by commas.",
    "The train left the station at half past seven, and",
    "Translate into German: Good morning, how are you today?",
    "If a shirt costs 20 euros and is reduced by a quarter, what does it cost?",
    "Explain in simple words why the sky is blue.",
    "A colourful bird with a long tail was sitting in the old apple tree.",
    "Summarise: The meeting was moved from Monday to Thursday because two people were ill.",
    "My order arrived late and one cup was broken, but the service was very friendly.",
)


@dataclass(frozen=True)
class Prompt:
    """A prompt as text.

    Args:
        text: What the model reads: of a chat, as its template renders it, up to where the answer begins.
        special: Whether the tokenizer adds its own special tokens to it; templates write them themselves.
        messages: The chat, where there is one.
        reference: The answer that the data has.
        second: A second text of the same row, such as the passage that a question is about.
        held_out: Whether it comes from held-out rows of the run.
    """

    text: str
    special: bool = False
    messages: Sequence[Mapping[str, Any]] = ()
    reference: str = ""
    second: str = ""
    held_out: bool = False

    def encode(self, tokenizer: Any) -> list[int]:
        """Return the ids that a tokenizer of transformers gives to it."""
        pair = (self.second,) if self.second else ()
        found = tokenizer(self.text, *pair, add_special_tokens=self.special)["input_ids"]
        return [int(one) for one in found]

    def list_prompt_values(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Prompt:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


def collect_prompts(loaded: Any, count: int = LEAST) -> list[Prompt]:
    """Return at least `count` prompts for a loaded model (`inference.loading.LoadedModel`)."""
    writes = loaded.config.task_kind.writes
    found: list[Prompt] = []
    if loaded.origin.kind == "run":
        found = _read_samples(loaded, writes)
        if len(found) < count:
            found += _read_held_out(loaded, count)
    unique = {(one.text, one.second): one for one in found}.values()
    found = [one for one in unique if one.text.strip() and _is_short(one, loaded.tokenizer)][:count]
    for text in NEUTRAL:
        if len(found) >= count:
            break
        found.append(_make_neutral(text, loaded))
    return found


def _is_short(prompt: Prompt, tokenizer: Any) -> bool:
    return 0 < len(prompt.encode(tokenizer)) <= MOST_TOKENS


def _make_neutral(text: str, loaded: Any) -> Prompt:
    if loaded.config.task_kind.question:
        return Prompt(text, special=True, second=" ".join(NEUTRAL[-3:]))
    return _write_prompt([{"role": "user", "content": text}], loaded)


def _write_prompt(messages: Sequence[Mapping[str, Any]], loaded: Any, **more: Any) -> Prompt:
    """Return a chat as the model's template renders it; plain text where it has none."""
    from tui_tuner.data.chat.template import render_chat
    from tui_tuner.data.row_problem import RowProblem
    from tui_tuner.inference.prompts import has_prompt_template

    text = "".join(str(message.get("content") or "") for message in messages)
    if not loaded.config.task_kind.writes or not has_prompt_template(loaded.tokenizer):
        return Prompt(text, special=True, **more)
    try:
        rendered = render_chat(loaded.tokenizer, [dict(one) for one in messages], generation=True)
    except RowProblem:
        return Prompt(text, special=True, **more)
    return Prompt(rendered, messages=tuple(messages), **more)


def _read_samples(loaded: Any, writes: bool) -> list[Prompt]:
    """Read the prompts of held-out rows that the run itself showed, from its journal."""
    found: dict[int, Prompt] = {}
    try:
        with open(Path(loaded.origin.path) / "events.jsonl", "rb") as file:
            lines = file.read(_BYTES).split(b"\n")
    except OSError:
        return []
    for line in lines:
        # Decoding is slow, and hardly any line is a sample
        event = decode_event_line(line) if b'"sample"' in line else None
        if event is None or not isinstance(event.body, Sample) or not event.body.prompt.strip():
            continue
        body = event.body
        if writes and body.reference:
            chat = [{"role": "user", "content": body.prompt}]
            found.setdefault(body.index, _write_prompt(chat, loaded, reference=body.reference, held_out=True))
        elif not writes:
            second = body.passage if body.passage != body.prompt else ""
            found.setdefault(body.index, Prompt(body.prompt, True, second=second, held_out=True))
    return list(found.values())


def _read_held_out(loaded: Any, count: int) -> list[Prompt]:
    """Read held-out rows as the run did, where its data is still there and not too large to read again."""
    from tui_tuner.data.examples.held_out import make_held_out_prompts, pick_held_out_records

    rows = read_held_out_rows(loaded)
    if rows is None:
        return []
    config = loaded.config
    if config.task_kind.writes:
        made = make_held_out_prompts(rows, count, config, loaded.tokenizer)
        return [
            _write_prompt(
                one.messages or [{"role": "user", "content": one.prompt_text}],
                loaded,
                reference=one.reference,
                held_out=True,
            )
            for one in made
        ]
    found = []
    for record in pick_held_out_records(rows, count, config.data.seed):
        text, second = str(record.get("text") or ""), str(record.get("second") or record.get("pair") or "")
        if config.task_kind.question:
            text, second = str(record.get("question") or ""), str(record.get("context") or "")
        if record.get("words"):
            text = " ".join(map(str, record["words"]))
        found.append(Prompt(text, True, second=second, held_out=True))
    return found


def read_held_out_rows(loaded: Any) -> Any:
    """Return the held-out rows of a run, as it measured them; None where they cannot be had again."""
    from tui_tuner.data.examples.prepare import prepare_examples

    config = loaded.config
    paths = [config.data.path] if isinstance(config.data.path, str) else list(config.data.path or ())
    files = [Path(str(getattr(one, "path", one))).expanduser() for one in paths]
    if not files or not all(one.is_file() for one in files):
        return None
    if sum(one.stat().st_size for one in files) > _LARGEST:
        return None
    try:
        return prepare_examples(config, loaded.tokenizer, loaded.task).validation
    except (TunerError, OSError, ValueError):
        return None
