"""Name what may be wrong with a text in a row, in whole sentences, which translations need.

Those of several formats are here; a format has those of its own columns in its module.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_


@dataclass(frozen=True)
class TextProblems:
    """The reasons for the ledger if a text is not text, empty or missing."""

    not_text: str
    empty: str
    missing: str


PROMPT = TextProblems(N_("the prompt is not text"), N_("the prompt is empty"), N_("the prompt is missing"))
INPUT = TextProblems(N_("the input is not text"), N_("the input is empty"), N_("the input is missing"))
RESPONSE = TextProblems(
    N_("the response is not text"), N_("the response is empty"), N_("the response is missing")
)
SYSTEM = TextProblems(
    N_("the system message is not text"),
    N_("the system message is empty"),
    N_("the system message is missing"),
)
EARLIER_QUESTION = TextProblems(
    N_("a question in history is not text"),
    N_("a question in history is empty"),
    N_("a question in history is missing"),
)
EARLIER_ANSWER = TextProblems(
    N_("an answer in history is not text"),
    N_("an answer in history is empty"),
    N_("an answer in history is missing"),
)
PART = TextProblems(
    N_("a content part is not text"), N_("a content part is empty"), N_("a content part is missing")
)
TEXT = TextProblems(N_("the text is not text"), N_("the text is empty"), N_("the text is missing"))
