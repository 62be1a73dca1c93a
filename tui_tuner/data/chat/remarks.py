"""Note what a template left out of a rendered chat, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.answer_finder import AnswerSpan
from tui_tuner.data.chat.marks import INLINE
from tui_tuner.data.records import Message
from tui_tuner.locales import N_

# What preflight counts, and the sentence for one row: the first four once for each chat, the others once for
# each answer that is trained. Reasoning alone is counted, but needs no sentence.
REMARKS = {
    "tools_left_out": N_("This chat template does not write the tools of this row."),
    "system_left_out": N_("This chat template does not write the system message as it is."),
    "system_moved": N_("The system message comes before the first question, as asked."),
    "system_dropped": N_("The system message is left out, as asked."),
    "reasoning": "",
    "reasoning_left_out": N_("This chat template leaves out reasoning of an answer, so it is not trained."),
    "content_left_out": N_("This chat template leaves out the text of an answer, so it is not trained."),
    "prompt_differs": N_(
        "An answer does not follow this template's generation prompt, so the model will be prompted "
        "differently from how it is trained."
    ),
    "stop_added": N_(
        "This chat template ends the chat without a stop token; the one that the model stops at was added."
    ),
    "weight_unused": N_("The weight of a turn that is no answer changes nothing."),
}


def list_answer_remarks(messages: Sequence[Message], spans: Sequence[AnswerSpan]) -> list[str]:
    """List what the template left out of answers that are trained, or what they lack."""
    found = []
    for span in spans:
        message = messages[span.index]
        if message.reasoning or INLINE.fullmatch(message.content or ""):
            found.append("reasoning")
        found += [f"{kind}_left_out" for kind in sorted(span.missing)]
        found += ["prompt_differs"] * (not span.prompted) + ["stop_added"] * bool(span.added)
    return found


def are_tools_shown(tools: Sequence[Any], text: str, spans: Sequence[AnswerSpan]) -> bool:
    """Return whether the name of any tool is written outside of the answers."""
    # A call in an answer has the name of its tool too, which says nothing about the list of tools.
    outside = "".join(text[start:end] for start, end in list_ranges_outside_answers(spans, len(text)))
    functions = [tool["function"] for tool in tools if isinstance(tool["function"], dict)]
    return not functions or any(str(one.get("name", "")) in outside for one in functions)


def list_ranges_outside_answers(spans: Sequence[AnswerSpan], length: int) -> list[tuple[int, int]]:
    """Return the ranges of characters that are in no answer."""
    edges = [0, *(edge for span in spans for edge in (span.start, span.end)), length]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
