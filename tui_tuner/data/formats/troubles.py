"""What may be wrong with a text in a row: whole sentences for each, for not every language has one `is`."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Troubles:
    """Reasons for the ledger."""

    not_text: str
    empty: str
    missing: str


PROMPT = Troubles(N_("the prompt is not text"), N_("the prompt is empty"), N_("the prompt is missing"))
INPUT = Troubles(N_("the input is not text"), N_("the input is empty"), N_("the input is missing"))
RESPONSE = Troubles(
    N_("the response is not text"), N_("the response is empty"), N_("the response is missing")
)
SYSTEM = Troubles(
    N_("the system message is not text"),
    N_("the system message is empty"),
    N_("the system message is missing"),
)
EARLIER_QUESTION = Troubles(
    N_("a question in history is not text"),
    N_("a question in history is empty"),
    N_("a question in history is missing"),
)
EARLIER_ANSWER = Troubles(
    N_("an answer in history is not text"),
    N_("an answer in history is empty"),
    N_("an answer in history is missing"),
)
PART = Troubles(
    N_("a content part is not text"), N_("a content part is empty"), N_("a content part is missing")
)
CHOSEN = Troubles(
    N_("the chosen answer is not text"),
    N_("the chosen answer is empty"),
    N_("the chosen answer is missing"),
)
REJECTED = Troubles(
    N_("the rejected answer is not text"),
    N_("the rejected answer is empty"),
    N_("the rejected answer is missing"),
)
ANSWER = Troubles(N_("the answer is not text"), N_("the answer is empty"), N_("the answer is missing"))
TEXT = Troubles(N_("the text is not text"), N_("the text is empty"), N_("the text is missing"))
FIRST = Troubles(
    N_("the first sentence is not text"),
    N_("the first sentence is empty"),
    N_("the first sentence is missing"),
)
SECOND = Troubles(
    N_("the second sentence is not text"),
    N_("the second sentence is empty"),
    N_("the second sentence is missing"),
)
QUESTION = Troubles(
    N_("the question is not text"), N_("the question is empty"), N_("the question is missing")
)
CONTEXT = Troubles(N_("the context is not text"), N_("the context is empty"), N_("the context is missing"))
