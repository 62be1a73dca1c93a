"""One turn of a chat, in any of the customary spellings: who speaks, what is said, thought and called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import calls_of, calls_of_text
from tui_tuner.data.formats.parts.columns import loads_if_json
from tui_tuner.data.formats.parts.media import NeedsMedia, kind_of_part
from tui_tuner.data.formats.parts.values import is_empty, is_nan, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import REASONING_KEYS, Message
from tui_tuner.locales import N_, _

# Who speaks, in the words of public data sets -> role
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
CALLERS = ("function_call", "tool_call")  # whose words are the JSON of a call

ROLE_KEYS = ("role", "from", "speaker", "sender")
CONTENT_KEYS = ("content", "value", "text", "utterance", "message")
# Whether a turn is trained, as OpenAI, axolotl, ms-swift, Megatron and others name it
FLAGS = ("train", "training", "weight", "loss_weight", "loss_mask", "loss_scale", "loss")
_FLAGS = frozenset(FLAGS)
DETAIL = "train_detail"  # axolotl's: which characters of a turn are trained
_YES = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_SPOKEN_PARTS = ("text", "output_text", "input_text", "refusal")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_text")
_PLAIN_KEYS = ({"role", "content"}, {"from", "value"})
_PLAIN_ROLES = ("user", "assistant", "system", "human", "gpt", "tool")
_TEXT_KEYS = ("text", "value", "content", "refusal")
_THOUGHT_KEYS = ("thinking", "reasoning", "reasoning_content", "text", "content", "value")


@dataclass
class Parts:
    """What a turn's content holds. `text` is None where it has no part of text."""

    text: str | None = None
    thoughts: list[str] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)


def spoken_by(item: dict[str, Any]) -> str | None:
    """Who speaks in a turn, as it is written there; None if nobody is named."""
    key = _key_of(item, ROLE_KEYS)
    return item[key] if key and isinstance(item[key], str) else None


def messages_of(item: dict[str, Any]) -> list[Message]:
    """A turn as messages: one, or with the results of tools that Anthropic's turns of a user hold, several.

    Raises:
        RowProblem: no role, an unknown one, nothing said, or something that is not text.
    """
    if item.keys() in _PLAIN_KEYS:  # most turns: somebody says a text
        plain, text = item.values() if next(iter(item)) in ROLE_KEYS else reversed(item.values())
        if isinstance(text, str) and plain in _PLAIN_ROLES:
            return [Message(SPOKEN[plain], text)]
    spoken = spoken_by(item)
    if spoken is None:
        raise RowProblem(N_("a turn has no role"))
    who = spoken.strip().lower()
    role = SPOKEN.get(who)
    if role is None:
        raise RowProblem(N_("unknown role"), repr(spoken)[:60])
    key = _key_of(item, CONTENT_KEYS)
    value = item[key] if key else None
    train = _train_flag(item)
    if who in CALLERS and not item.get("tool_calls"):
        return [Message("assistant", None, calls_of_text(value), train=train)]
    parts = _parts(value)
    calls = calls_of(item.get("tool_calls")) or calls_of(_function_call(item)) or calls_of(parts.calls)
    reasoning, reasoning_key = _reasoning(item, parts) if role == "assistant" else ("", REASONING_KEYS[0])
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
        reasoning=reasoning or None,
        reasoning_key=reasoning_key,
    )
    if not parts.results:
        return [message]
    return [*parts.results, message] if parts.text else parts.results


def unused_keys(item: dict[str, Any]) -> Iterator[str]:
    """Keys of a turn that hold something and that nothing was made of."""
    if item.keys() in _PLAIN_KEYS:
        return
    spoken = (spoken_by(item) or "").strip().lower()
    used = {_key_of(item, ROLE_KEYS), _key_of(item, CONTENT_KEYS), DETAIL}
    used |= _FLAGS if _flag(item, "loss") is not None else _FLAGS - {"loss"}
    if SPOKEN.get(spoken) == "assistant":
        used |= {_reasoning_key(item), "function_call"}
    used |= {key for key in ("name", "tool_call_id") if isinstance(item.get(key), str)}
    used.add("tool_calls")
    for key, value in item.items():
        if key not in used and not is_empty(value):
            yield str(key)


def _key_of(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of these keys that holds something, or else that is there; empty if none is."""
    there = [key for key in keys if key in item]
    return next((key for key in there if not is_empty(item[key])), there[0] if there else "")


def _function_call(item: dict[str, Any]) -> Any:
    """OpenAI's older spelling of one call."""
    found = loads_if_json(item.get("function_call"))
    return found if isinstance(found, dict) and found.get("name") else None


# ---- whether it is trained --------------------------------------------------------------------------------


def _train_flag(item: dict[str, Any]) -> bool | None:
    """Whether a turn says that it is trained, or that it is not; None if it does not say.

    Raises:
        RowProblem: it says something between, or both.
    """
    found = {flag for key in item.keys() & _FLAGS if (flag := _flag(item, key)) is not None}
    found |= _details(item.get(DETAIL))
    if len(found) > 1:
        raise RowProblem(N_("a turn is said to be trained, and not to be"))
    return found.pop() if found else None


def _flag(item: dict[str, Any], key: str) -> bool | None:
    value = item.get(key)
    if is_empty(value):
        return None
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    plain = str(value).strip().lower() if isinstance(value, str) else ""
    if plain in _YES:
        return _YES[plain]
    if key == "loss":  # a number that somebody measured, perhaps
        return None
    why = N_("a turn's {key} is neither true nor false: a turn is trained as a whole, or not at all", key=key)
    raise RowProblem(why, repr(value)[:40])


def _details(value: Any) -> set[bool]:
    """What axolotl's spans of a turn say, where they all say the same."""
    value = loads_if_json(value)
    if is_empty(value):
        return set()
    parts = value if isinstance(value, list) else [value]
    flags = [
        part["train"] for part in parts if isinstance(part, dict) and isinstance(part.get("train"), bool)
    ]
    if len(flags) < len(parts) or len(set(flags)) > 1:
        raise RowProblem(N_("a turn trains some of its characters and others not (train_detail)"))
    return set(flags)


# ---- what is said and thought -----------------------------------------------------------------------------


def _reasoning_key(item: dict[str, Any]) -> str:
    return next((key for key in REASONING_KEYS if not is_empty(item.get(key))), "")


def _reasoning(item: dict[str, Any], parts: Parts) -> tuple[str, str]:
    """What was thought before an answer, and the key that keeps it."""
    key = _reasoning_key(item)
    if not key:
        return "".join(parts.thoughts), REASONING_KEYS[0]
    value = item[key]
    if isinstance(value, str):
        return value, key
    pieces = value if isinstance(value, list) else [value]
    found = [piece if isinstance(piece, str) else _text_in(piece, _THOUGHT_KEYS) for piece in pieces]
    if any(piece is None for piece in found):
        raise RowProblem(N_("a turn's reasoning is not text"))
    return "".join(piece or "" for piece in found), key


def _parts(value: Any) -> Parts:
    """A turn's content: a text, or a list of parts."""
    if value is None or is_nan(value):
        return Parts()
    if isinstance(value, str):
        return Parts(value)
    if isinstance(value, bool | int | float):
        return Parts(str(value))
    if isinstance(value, dict):
        return Parts(orjson.dumps(value).decode())
    if not isinstance(value, list):
        raise RowProblem(N_("a turn's content is not text"))
    found, texts = Parts(), []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            texts += _part(part, found)
        elif part is not None:
            raise RowProblem(N_("a turn's content is not text"))
    if texts or not (found.thoughts or found.calls or found.results):
        found.text = "".join(texts)
    return found


def _part(part: dict[str, Any], found: Parts) -> list[str]:
    """Sort one part into `found`; what it says is returned."""
    kind = part.get("type") or "text"
    if kind in _SPOKEN_PARTS and (text := _text_in(part, _TEXT_KEYS)) is not None:
        return [text]
    if kind in _THOUGHT_PARTS and (thought := _text_in(part, _THOUGHT_KEYS)) is not None:
        found.thoughts.append(thought)
    elif kind in ("tool_use", "tool_call", "function_call") and (calls := _calls_in(part)):
        found.calls += calls
    elif kind == "tool_result":
        call_id = part.get("tool_use_id") or part.get("tool_call_id")
        said = _parts(part.get("content")).text or ""
        found.results.append(
            Message("tool", said, tool_call_id=call_id if isinstance(call_id, str) else None)
        )
    elif media := kind_of_part(part):
        raise NeedsMedia(media, _("a part of type {kind}", kind=str(kind)[:40]))
    else:
        raise RowProblem(N_("a turn holds something other than text"), str(kind)[:40])
    return []


def _calls_in(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of a part: itself, or what it holds, which may be JSON text; none if it is no call."""
    if isinstance(part.get("name"), str):
        return [part]
    for key in ("value", "content", "function", "tool_call"):
        value = loads_if_json(part.get(key))
        calls = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
        if calls and all(isinstance(one.get("name"), str) for one in calls):
            return calls
    return []


def _text_in(part: Any, keys: tuple[str, ...]) -> str | None:
    """The text under the first of these keys that holds one; a list of parts there is joined."""
    if not isinstance(part, dict):
        return None
    there = [key for key in keys if key in part]
    key = next((key for key in there if not is_empty(part[key])), there[0] if there else "")
    value = part.get(key)
    if not key:
        return None
    if isinstance(value, dict):
        return _text_in(value, keys)
    if isinstance(value, list):
        inner = [item if isinstance(item, str) else _text_in(item, keys) for item in value]
        return None if None in inner else "".join(item or "" for item in inner)
    return text_of(value, troubles.PART, False)
