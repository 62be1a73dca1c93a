"""What may be wrong with a text in a row: whole sentences for each, for not every language has one `is`.

Those that several formats know are here; a format has those of its own columns in its module.
"""

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
TEXT = Troubles(N_("the text is not text"), N_("the text is empty"), N_("the text is missing"))
