"""Read one turn of a chat in any of the usual spellings: speaker, content, reasoning and calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import read_calls, read_calls_from_text
from tui_tuner.data.formats.parts.columns import parse_if_json
from tui_tuner.data.formats.parts.media import MediaNeeded, find_part_kind
from tui_tuner.data.formats.parts.values import is_empty, is_nan, read_text_value
from tui_tuner.data.formats.parts.weights import MOST, parse_weight
from tui_tuner.data.records import REASONING_KEYS, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

# Names of speakers in public data sets -> role
SPOKEN = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "claude": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "ipython": "tool",
}
CALLERS = ("function_call", "tool_call")  # their content is the JSON of a call

ROLE_KEYS = ("role", "from", "speaker", "sender")
CONTENT_KEYS = ("content", "value", "text", "utterance", "message")
# Keys for whether a turn is trained, in OpenAI, axolotl, ms-swift, Megatron and others; some say how much
FLAGS = ("train", "training", "weight", "loss_weight", "loss_mask", "loss_scale", "loss")
WEIGHTS = ("weight", "loss_weight", "loss_scale")
_FLAGS = frozenset(FLAGS)
DETAIL = "train_detail"  # axolotl's key for the characters of a turn that are trained
_YES = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_SPOKEN_PARTS = ("text", "output_text", "input_text", "refusal")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_text")
_PLAIN_KEYS = ({"role", "content"}, {"from", "value"})
_PLAIN_ROLES = ("user", "assistant", "system", "human", "gpt", "tool")
_TEXT_KEYS = ("text", "value", "content", "refusal")
_THOUGHT_KEYS = ("thinking", "reasoning", "reasoning_content", "text", "content", "value")


@dataclass
class ContentParts:
    """The parts of a turn's content. `text` is None if there is no text."""

    text: str | None = None
    thoughts: list[str] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def find_speaker(item: dict[str, Any]) -> str | None:
    """Return the speaker of a turn, as it is written there; None if there is none."""
    key = _find_key(item, ROLE_KEYS)
    return item[key] if key and isinstance(item[key], str) else None


def read_messages(item: dict[str, Any]) -> list[Message]:
    """Read a turn as messages: several if a user turn in Anthropic's format contains results of tools.

    Raises:
        RowProblem: the role is missing or unknown, there is no content, or it is not text.
    """
    # Most turns have a role and a text and nothing more.
    if item.keys() in _PLAIN_KEYS:
        plain, text = item.values() if next(iter(item)) in ROLE_KEYS else reversed(item.values())
        if isinstance(text, str) and plain in _PLAIN_ROLES:
            return [Message(SPOKEN[plain], text)]
    spoken = find_speaker(item)
    if spoken is None:
        raise RowProblem(N_("a turn has no role"))
    who = spoken.strip().lower()
    role = SPOKEN.get(who)
    if role is None:
        raise RowProblem(N_("unknown role"), repr(spoken)[:60])
    key = _find_key(item, CONTENT_KEYS)
    value = item[key] if key else None
    train, weight = _read_train_flag(item), _read_turn_weight(item)
    # ShareGPT writes a call as the text of a turn with its own role.
    if who in CALLERS and not item.get("tool_calls"):
        return [Message("assistant", None, read_calls_from_text(value), train=train, weight=weight)]
    parts = _read_parts(value)
    calls = (
        read_calls(item.get("tool_calls")) or read_calls(_read_function_call(item)) or read_calls(parts.calls)
    )
    reasoning, reasoning_key = (
        _read_reasoning(item, parts) if role == "assistant" else ("", REASONING_KEYS[0])
    )
    if parts.text is None and not calls and not reasoning and not parts.results:
        raise RowProblem(N_("a turn has no content"))
    name, call_id = item.get("name"), item.get("tool_call_id")
    message = Message(
        role,
        parts.text,
        calls,
        name=name if isinstance(name, str) else None,
        tool_call_id=call_id if isinstance(call_id, str) else None,
        train=train,
        weight=weight,
        reasoning=reasoning or None,
        reasoning_key=reasoning_key,
    )
    if not parts.results:
        return [message]
    # Results of tools come before the question in the same turn, as the model must read them.
    return [*parts.results, message] if parts.text else parts.results


def list_unused_keys(item: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of a turn that have a value and are not used."""
    if item.keys() in _PLAIN_KEYS:
        return
    spoken = (find_speaker(item) or "").strip().lower()
    used = {_find_key(item, ROLE_KEYS), _find_key(item, CONTENT_KEYS), DETAIL}
    # "loss" may also be a measured value, which is not a flag and so is not used.
    used |= _FLAGS if _parse_flag(item, "loss") is not None else _FLAGS - {"loss"}
    if SPOKEN.get(spoken) == "assistant":
        used |= {_find_reasoning_key(item), "function_call"}
    used |= {key for key in ("name", "tool_call_id") if isinstance(item.get(key), str)}
    used.add("tool_calls")
    for key, value in item.items():
        if key not in used and not is_empty(value):
            yield str(key)


def _find_key(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Return the first of these keys that has a value, or else that is there; empty if none is."""
    there = [key for key in keys if key in item]
    return next((key for key in there if not is_empty(item[key])), there[0] if there else "")


def _read_function_call(item: dict[str, Any]) -> Any:
    """Return a call in OpenAI's older spelling; None if there is none."""
    found = parse_if_json(item.get("function_call"))
    return found if isinstance(found, dict) and found.get("name") else None


# ---- the training flag --------------------------------------------------------------------------------


def _read_train_flag(item: dict[str, Any]) -> bool | None:
    """Return whether a turn is marked as trained or as not trained; None if it has no mark.

    Raises:
        RowProblem: a mark is neither true nor false nor a weight, or marks contradict each other.
    """
    found = {flag for key in item.keys() & _FLAGS if (flag := _parse_flag(item, key)) is not None}
    found |= _read_details(item.get(DETAIL))
    if len(found) > 1:
        raise RowProblem(N_("a turn is marked both as trained and as not trained"))
    return found.pop() if found else None


def _parse_flag(item: dict[str, Any], key: str) -> bool | None:
    value = item.get(key)
    if key in WEIGHTS:
        weight = _parse_turn_weight(item, key)
        return None if weight is None else weight > 0
    if is_empty(value):
        return None
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    plain = str(value).strip().lower() if isinstance(value, str) else ""
    if plain in _YES:
        return _YES[plain]
    # A number under this key may be a measured loss.
    if key == "loss":
        return None
    why = N_("a turn's {key} is neither true nor false: a turn is trained as a whole or not at all", key=key)
    raise RowProblem(why, repr(value)[:40])


def _read_turn_weight(item: dict[str, Any]) -> float:
    """Return what the losses of a turn count; 1 if it says nothing about it, or that it is not trained.

    Raises:
        RowProblem: it has two different weights, or something else as a weight.
    """
    found = {weight for key in WEIGHTS if (weight := _parse_turn_weight(item, key)) is not None}
    if len(found) > 1:
        raise RowProblem(
            N_("a turn has two different weights"), ", ".join(f"{one:g}" for one in sorted(found))
        )
    return (found.pop() if found else 1.0) or 1.0


def _parse_turn_weight(item: dict[str, Any], key: str) -> float | None:
    value = item.get(key)
    if is_empty(value):
        return None
    weight = parse_weight(value)
    if weight is None:
        why = N_("a turn's {key} is not a number from 0 to {most:,.0f}", key=key, most=MOST)
        raise RowProblem(why, repr(value)[:40])
    return weight


def _read_details(value: Any) -> set[bool]:
    """Return the flags of axolotl's spans of a turn, which must all be equal."""
    value = parse_if_json(value)
    if is_empty(value):
        return set()
    parts = value if isinstance(value, list) else [value]
    flags = [
        part["train"] for part in parts if isinstance(part, dict) and isinstance(part.get("train"), bool)
    ]
    if len(flags) < len(parts) or len(set(flags)) > 1:
        raise RowProblem(N_("only some characters of a turn are trained (train_detail)"))
    return set(flags)


# ---- content and reasoning -----------------------------------------------------------------------------


def _find_reasoning_key(item: dict[str, Any]) -> str:
    return next((key for key in REASONING_KEYS if not is_empty(item.get(key))), "")


def _read_reasoning(item: dict[str, Any], parts: ContentParts) -> tuple[str, str]:
    """Return the reasoning before an answer, and its key."""
    key = _find_reasoning_key(item)
    if not key:
        return "".join(parts.thoughts), REASONING_KEYS[0]
    value = item[key]
    if isinstance(value, str):
        return value, key
    pieces = value if isinstance(value, list) else [value]
    found = [piece if isinstance(piece, str) else _find_text(piece, _THOUGHT_KEYS) for piece in pieces]
    if any(piece is None for piece in found):
        raise RowProblem(N_("a turn's reasoning is not text"))
    return "".join(piece or "" for piece in found), key


def _read_parts(value: Any) -> ContentParts:
    """Read a turn's content, a text or a list of parts."""
    if value is None or is_nan(value):
        return ContentParts()
    if isinstance(value, str):
        return ContentParts(value)
    # Tables turn short answers such as "42" or "true" into numbers and booleans.
    if isinstance(value, bool | int | float):
        return ContentParts(str(value))
    # An object as content, such as the result of a tool, is written as JSON.
    if isinstance(value, dict):
        return ContentParts(orjson.dumps(value).decode())
    if not isinstance(value, list):
        raise RowProblem(N_("a turn's content is not text"))
    found, texts = ContentParts(), []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            texts += _add_part(part, found)
        elif part is not None:
            raise RowProblem(N_("a turn's content is not text"))
    if texts or not (found.thoughts or found.calls or found.results):
        found.text = "".join(texts)
    return found


def _add_part(part: dict[str, Any], found: ContentParts) -> list[str]:
    """Add one part to `found`, and return its text."""
    kind = part.get("type") or "text"
    if kind in _SPOKEN_PARTS and (text := _find_text(part, _TEXT_KEYS)) is not None:
        return [text]
    if kind in _THOUGHT_PARTS and (thought := _find_text(part, _THOUGHT_KEYS)) is not None:
        found.thoughts.append(thought)
    elif kind in ("tool_use", "tool_call", "function_call") and (calls := _find_calls(part)):
        found.calls += calls
    # Anthropic puts results of tools into a user turn; other formats have a role for them.
    elif kind == "tool_result":
        call_id = part.get("tool_use_id") or part.get("tool_call_id")
        said = _read_parts(part.get("content")).text or ""
        found.results.append(
            Message("tool", said, tool_call_id=call_id if isinstance(call_id, str) else None)
        )
    elif media := find_part_kind(part):
        raise MediaNeeded(media, _("a part of type {kind}", kind=str(kind)[:40]))
    else:
        raise RowProblem(N_("a turn holds something other than text"), str(kind)[:40])
    return []


def _find_calls(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a part: itself, or its content, which may be JSON; empty if it is not a call."""
    if isinstance(part.get("name"), str):
        return [part]
    for key in ("value", "content", "function", "tool_call"):
        value = parse_if_json(part.get(key))
        calls = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
        if calls and all(isinstance(one.get("name"), str) for one in calls):
            return calls
    return []


def _find_text(part: Any, keys: tuple[str, ...]) -> str | None:
    """Return the text under the first of these keys that has one; a list of parts is joined."""
    if not isinstance(part, dict):
        return None
    there = [key for key in keys if key in part]
    key = next((key for key in there if not is_empty(part[key])), there[0] if there else "")
    value = part.get(key)
    if not key:
        return None
    if isinstance(value, dict):
        return _find_text(value, keys)
    if isinstance(value, list):
        inner = [item if isinstance(item, str) else _find_text(item, keys) for item in value]
        return None if None in inner else "".join(item or "" for item in inner)
    return read_text_value(value, troubles.PART, False)
