"""What is remarkable about a rendered chat: what a template passed over, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.marks import INLINE
from tui_tuner.data.chat.turns import Span
from tui_tuner.data.records import Message
from tui_tuner.locales import N_

# What preflight counts, and what to say of one row: the first four once for a chat, the others once for each
# answer that is trained. Reasoning by itself is nothing to say.
REMARKS = {
    "tools_left_out": N_("This chat template does not write the tools of this row."),
    "system_left_out": N_("This chat template does not write the system message as it is."),
    "system_moved": N_("The system message is in front of the first question, as asked."),
    "system_dropped": N_("The system message is left out, as asked."),
    "reasoning": "",
    "reasoning_left_out": N_("This chat template leaves out reasoning of an answer, so it is not trained."),
    "content_left_out": N_("This chat template leaves out the text of an answer, so it is not trained."),
    "prompt_differs": N_(
        "An answer is behind another text than this template's generation prompt, so the model will be asked "
        "otherwise than it is trained."
    ),
    "stop_added": N_(
        "This chat template ends the chat without a stop token; the one that the model stops at was added."
    ),
}


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
