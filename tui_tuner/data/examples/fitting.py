"""Rows longer than `max_length`: split between turns, cut, or dropped, as the run says; always counted.

A long chat becomes several chats of whole exchanges, each beginning with the system message, as Vicuna did.
Every answer is in exactly one of them, so it is trained once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tui_tuner.data.chat.encoder import ChatEncoder, Encoded
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Chat, Example, Message
from tui_tuner.locales import N_, _


@dataclass
class Fitted:
    """What became of a row: its examples, the outcome for the ledger, and why."""

    examples: Sequence[Example]
    outcome: str = "kept"
    reason: str = ""


def fit(chat: Chat, encoded: Encoded, encoder: ChatEncoder, max_length: int, overlong: str) -> Fitted:
    """Make a chat fit.

    Raises:
        RowProblem: nothing of it fits, or nothing in it is trained.
    """
    if not encoded.trained_tokens:
        raise RowProblem(N_("nothing to learn: no trained answer in the row"))
    if len(encoded) <= max_length:
        return Fitted([encoded])
    if overlong == "drop":
        raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=len(encoded)))
    if overlong == "truncate":
        return _truncate(encoded, max_length)
    return _split(chat, encoded, encoder, max_length)


def _truncate(encoded: Encoded, max_length: int) -> Fitted:
    labels = encoded.labels[:max_length].copy()
    labels[-1:] = IGNORE  # what it predicts was cut off
    if not (labels != IGNORE).any():
        raise RowProblem(N_("the answer lies beyond max_length"), _("{tokens} tokens", tokens=len(encoded)))
    inside = [answer for answer in encoded.answers if answer[1] <= max_length]
    cut = Encoded(
        encoded.ids[:max_length],
        labels,
        answers=inside,
        stops=encoded.stops[: len(inside)],
        doubled_bos=encoded.doubled_bos,
        remarks=encoded.remarks,
    )
    lost = any(start < max_length < end for start, end, _unused in encoded.answers)
    reason = N_("cut at max_length, inside an answer") if lost else N_("cut at max_length, behind an answer")
    return Fitted([cut], "truncated", reason)


def _split(chat: Chat, encoded: Encoded, encoder: ChatEncoder, max_length: int) -> Fitted:
    system, exchanges = _exchanges(chat)
    if len(exchanges) < 2:
        raise RowProblem(
            N_("longer than max_length, and one exchange cannot be split"),
            _("{tokens} tokens", tokens=len(encoded)),
        )
    last_only = encoder.train_on == "last_answer"
    if last_only:
        exchanges = _mark_last(exchanges)
    pieces: list[Encoded] = []
    lost = 0
    start = 0
    while start < len(exchanges):
        best, end = _longest(chat, system, exchanges, start, encoder, max_length)
        if best is None:
            lost += 1
            start += 1
            continue
        if best.trained_tokens:
            pieces.append(best)
        start = end
    if not pieces:
        raise RowProblem(N_("longer than max_length, and no exchange with a trained answer fits"))
    reason = N_("split between turns to fit max_length")
    if lost:
        reason = N_("split between turns to fit max_length; an exchange longer than max_length was left out")
    return Fitted(pieces, "split", reason)


def _exchanges(chat: Chat) -> tuple[list[Message], list[list[Message]]]:
    """The system message, and groups of turns that each begin with the user and end before the next one."""
    system = [message for message in chat.messages[:1] if message.role == "system"]
    groups: list[list[Message]] = []
    answered = True
    for message in chat.messages[len(system) :]:
        if not groups or (message.role == "user" and answered):
            groups.append([])
            answered = False
        groups[-1].append(message)
        answered = answered or message.role == "assistant"
    return system, groups


def _mark_last(exchanges: list[list[Message]]) -> list[list[Message]]:
    """Only the last answer of the whole chat is trained, whichever piece it ends up in."""
    answers = [
        (i, j) for i, group in enumerate(exchanges) for j, m in enumerate(group) if m.role == "assistant"
    ]
    marked = [list(group) for group in exchanges]
    for place in answers:
        message = marked[place[0]][place[1]]
        if message.train is None:
            marked[place[0]][place[1]] = replace(message, train=place == answers[-1])
    return marked


def _longest(
    chat: Chat,
    system: list[Message],
    exchanges: list[list[Message]],
    start: int,
    encoder: ChatEncoder,
    max_length: int,
) -> tuple[Encoded | None, int]:
    """The piece with most exchanges from `start` that fits, and where the next one begins."""

    def piece(end: int) -> Encoded | None:
        messages = system + [message for group in exchanges[start:end] for message in group]
        encoded = encoder.encode(Chat(messages, chat.tools))
        return encoded if len(encoded) <= max_length else None

    low, best = start, None
    high = len(exchanges)
    # Gallop, then halve: few encodings even for chats of hundreds of turns.
    step = 1
    while low < high:
        end = min(low + step, high)
        found = piece(end)
        if found is None:
            high = end - 1
            step = max(1, (high - low) // 2)
        else:
            low, best = end, found
            step *= 2
    return best, low
