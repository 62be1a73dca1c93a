"""Split, cut or drop rows longer than `max_length`, as the config says; they are always counted.

A long chat becomes several chats of whole exchanges, each beginning with the system message, as in Vicuna.
Every answer is in exactly one of them, so it is trained once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tui_tuner.data.chat.chat_encoder import ChatEncoder, EncodedExample
from tui_tuner.data.records import IGNORE, Chat, Example, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _


@dataclass
class FittedRow:
    """The result for a row: its examples, the outcome for the ledger, and the reason."""

    examples: Sequence[Example]
    outcome: str = "kept"
    reason: str = ""


def fit_chat(
    chat: Chat, encoded: EncodedExample, encoder: ChatEncoder, max_length: int, overlong: str
) -> FittedRow:
    """Make a chat fit into `max_length` tokens.

    Raises:
        RowProblem: no part of it fits, or no part is trained.
    """
    if not encoded.trained_tokens:
        raise RowProblem(N_("nothing to learn: no trained answer in the row"))
    if len(encoded) <= max_length:
        return FittedRow([encoded])
    if overlong == "drop":
        raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=len(encoded)))
    if overlong == "truncate":
        return _truncate_chat(encoded, max_length)
    return _split_chat(chat, encoded, encoder, max_length)


def _truncate_chat(encoded: EncodedExample, max_length: int) -> FittedRow:
    labels = encoded.labels[:max_length].copy()
    # The token that this position predicts was cut off.
    labels[-1:] = IGNORE
    if not (labels != IGNORE).any():
        raise RowProblem(N_("the answer lies beyond max_length"), _("{tokens} tokens", tokens=len(encoded)))
    inside = [answer for answer in encoded.answers if answer[1] <= max_length]
    cut = EncodedExample(
        encoded.ids[:max_length],
        labels,
        weights=None if encoded.weights is None else encoded.weights[:max_length],
        answers=inside,
        stops=encoded.stops[: len(inside)],
        doubled_bos=encoded.doubled_bos,
        remarks=encoded.remarks,
    )
    lost = any(start < max_length < end for start, end, _unused in encoded.answers)
    reason = N_("cut at max_length, inside an answer") if lost else N_("cut at max_length, after an answer")
    return FittedRow([cut], "truncated", reason)


def _split_chat(chat: Chat, encoded: EncodedExample, encoder: ChatEncoder, max_length: int) -> FittedRow:
    system, exchanges = _split_exchanges(chat)
    if len(exchanges) < 2:
        raise RowProblem(
            N_("longer than max_length, and one exchange cannot be split"),
            _("{tokens} tokens", tokens=len(encoded)),
        )
    last_only = encoder.train_on == "last_answer"
    if last_only:
        exchanges = _mark_last_answer(exchanges)
    pieces: list[EncodedExample] = []
    lost = 0
    start = 0
    while start < len(exchanges):
        best, end = _find_longest_piece(chat, system, exchanges, start, encoder, max_length)
        if best is None:
            # This one exchange does not fit by itself.
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
    return FittedRow(pieces, "split", reason)


def _split_exchanges(chat: Chat) -> tuple[list[Message], list[list[Message]]]:
    """Split a chat into its system message and exchanges, each from a question to before the next one."""
    system = [message for message in chat.messages[:1] if message.role == "system"]
    groups: list[list[Message]] = []
    answered = True
    for message in chat.messages[len(system) :]:
        # Several user turns before an answer belong together, and so do calls and results of tools.
        if not groups or (message.role == "user" and answered):
            groups.append([])
            answered = False
        groups[-1].append(message)
        answered = answered or message.role == "assistant"
    return system, groups


def _mark_last_answer(exchanges: list[list[Message]]) -> list[list[Message]]:
    """Mark the last answer of the whole chat as the only one that is trained, in whichever piece it is."""
    answers = [
        (i, j) for i, group in enumerate(exchanges) for j, m in enumerate(group) if m.role == "assistant"
    ]
    marked = [list(group) for group in exchanges]
    for place in answers:
        message = marked[place[0]][place[1]]
        if message.train is None:
            marked[place[0]][place[1]] = replace(message, train=place == answers[-1])
    return marked


def _find_longest_piece(
    chat: Chat,
    system: list[Message],
    exchanges: list[list[Message]],
    start: int,
    encoder: ChatEncoder,
    max_length: int,
) -> tuple[EncodedExample | None, int]:
    """Find the longest piece from exchange `start` that fits, and where the next one begins."""

    def encode_piece(end: int) -> EncodedExample | None:
        messages = system + [message for group in exchanges[start:end] for message in group]
        encoded = encoder.encode_chat(replace(chat, messages=messages))
        return encoded if len(encoded) <= max_length else None

    low, best = start, None
    high = len(exchanges)
    # Gallop, then halve: each try renders and tokenises the chat, and this takes few tries even for chats of
    # hundreds of turns.
    step = 1
    while low < high:
        end = min(low + step, high)
        found = encode_piece(end)
        if found is None:
            high = end - 1
            step = max(1, (high - low) // 2)
        else:
            low, best = end, found
            step *= 2
    return best, low
