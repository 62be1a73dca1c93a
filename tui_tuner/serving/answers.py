"""Answers on their way to a client: named as it asked, cut before stop texts, counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.serving.stop_cutter import StopCutter

_DONE = b"data: [DONE]\n\n"


@dataclass
class Count:
    """Tokens of one request, as far as the server said."""

    prompt: int = 0
    answer: int = 0

    def note_usage(self, told: Any) -> None:
        """Take over the `usage` of an answer."""
        if isinstance(told, dict):
            self.prompt = int(told.get("prompt_tokens") or told.get("input_tokens") or self.prompt)
            self.answer = int(told.get("completion_tokens") or told.get("output_tokens") or self.answer)


def change_whole(body: bytes, name: str, stops: Sequence[str], count: Count) -> bytes:
    """Return a whole answer under the name that the client asked for."""
    try:
        told = json.loads(body)
    except ValueError:
        return body
    if not isinstance(told, dict):
        return body
    count.note_usage(told.get("usage"))
    if "model" in told:
        told["model"] = name
    for choice in told.get("choices") or ():
        cutter = StopCutter(stops)
        holder, key = _find_text(choice, "message")
        if holder is not None:
            text = cutter.take(str(holder[key]))
            holder[key] = text + cutter.take_rest()
        if cutter.found:
            choice["finish_reason"] = "stop"
    return json.dumps(told, ensure_ascii=False).encode()


async def change_stream(
    pieces: AsyncIterator[bytes], name: str, stops: Sequence[str], count: Count
) -> AsyncIterator[bytes]:
    """Yield a stream of events, changed as `change_whole` does; it ends with `[DONE]`, as clients expect."""
    cutter, waiting, ended = StopCutter(stops), b"", False
    async for piece in pieces:
        waiting += piece
        *events, waiting = waiting.split(b"\n\n")
        for event in events:
            ended = ended or event.strip() == _DONE.strip()
            changed = _change_event(event, name, cutter, count)
            if changed:
                yield changed + b"\n\n"
    if waiting.strip():
        yield _change_event(waiting, name, cutter, count) + b"\n\n"
    if not ended:
        yield _DONE


def _change_event(event: bytes, name: str, cutter: StopCutter, count: Count) -> bytes:
    lines = event.split(b"\n")
    return b"\n".join(
        b"data: " + _change_data(line[5:].strip(), name, cutter, count) if line.startswith(b"data:") else line
        for line in lines
    )


def _change_data(data: bytes, name: str, cutter: StopCutter, count: Count) -> bytes:
    try:
        told = json.loads(data)
    except ValueError:
        return data
    if not isinstance(told, dict):
        return data
    count.note_usage(told.get("usage"))
    if "model" in told:
        told["model"] = name
    for choice in told.get("choices") or ():
        _cut_choice(choice, cutter)
    return json.dumps(told, ensure_ascii=False).encode()


def _cut_choice(choice: dict[str, Any], cutter: StopCutter) -> None:
    holder, key = _find_text(choice, "delta")
    if holder is not None:
        holder[key] = cutter.take(str(holder[key]))
    if choice.get("finish_reason"):
        rest = cutter.take_rest()
        if rest:
            target = choice.get("delta") if "delta" in choice else choice
            key = "content" if "delta" in choice else "text"
            assert isinstance(target, dict)
            target[key] = (target.get(key) or "") + rest
        if cutter.found:
            choice["finish_reason"] = "stop"


def _find_text(choice: dict[str, Any], part: str) -> tuple[dict[str, Any] | None, str]:
    """Return where a choice holds its text: in a message of a chat, or in `text`."""
    inside = choice.get(part)
    if isinstance(inside, dict) and isinstance(inside.get("content"), str):
        return inside, "content"
    if isinstance(choice.get("text"), str):
        return choice, "text"
    return None, ""
