"""What is remarkable about a rendered chat: what a template passed over, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.marks import INLINE
from tui_tuner.data.chat.turns import Span
from tui_tuner.data.records import Message

# What preflight counts: the first four once for a chat, the others once for each answer that is trained
REMARKS = (
    "tools_left_out",
    "system_left_out",
    "system_moved",
    "system_dropped",
    "reasoning",
    "reasoning_left_out",
    "content_left_out",
    "prompt_differs",
    "stop_added",
)


def remarks_on_answers(messages: Sequence[Message], spans: Sequence[Span]) -> list[str]:
    """What the template passed over of answers that are trained, or what they lack."""
    found = []
    for span in spans:
        message = messages[span.index]
        if message.reasoning or INLINE.fullmatch(message.content or ""):
            found.append("reasoning")
        found += [f"{kind}_left_out" for kind in sorted(span.missing)]
        found += ["prompt_differs"] * (not span.prompted) + ["stop_added"] * bool(span.added)
    return found


def tools_shown(tools: Sequence[Any], text: str, spans: Sequence[Span]) -> bool:
    """Whether the name of any tool is written beside the calls in answers."""
    outside = "".join(text[start:end] for start, end in beside(spans, len(text)))
    functions = [tool["function"] for tool in tools if isinstance(tool["function"], dict)]
    return not functions or any(str(one.get("name", "")) in outside for one in functions)


def beside(spans: Sequence[Span], length: int) -> list[tuple[int, int]]:
    """The ranges of characters that are in no answer."""
    edges = [0, *(edge for span in spans for edge in (span.start, span.end)), length]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
