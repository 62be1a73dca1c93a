"""Formats that put a text before and behind each turn: described by those texts, and written as Jinja.

Most published chat formats are of this kind. What is written is one plain template for one tokenizer, with its
BOS and end token as literals, so it says the same wherever it is loaded later.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass


class Mark(enum.Enum):
    """What a tokenizer decides: its BOS where it puts one before text, its BOS in any case, what ends an
    answer, and its eos where that is another token."""

    BOS = "bos"
    ANY_BOS = "any_bos"
    END = "end"
    EOS = "eos"


BOS, ANY_BOS, END, EOS = Mark.BOS, Mark.ANY_BOS, Mark.END, Mark.EOS
Pieces = Sequence[str | Mark]


@dataclass(frozen=True)
class Tokens:
    """What a template has to know of a tokenizer.

    Args:
        bos: Its BOS, if it puts one in front of plain text; else empty.
        any_bos: Its BOS, or empty if it has none.
        end: What ends an answer.
        eos: Its eos, or empty where that is `end`.
        known: Every token.
    """

    bos: str
    any_bos: str
    end: str
    eos: str
    known: frozenset[str]

    def text(self, pieces: Pieces) -> str:
        """Pieces with the tokenizer's own tokens in their places."""
        return "".join(
            piece if isinstance(piece, str) else str(getattr(self, piece.value)) for piece in pieces
        )


@dataclass(frozen=True)
class Sides:
    """A format by the texts around its turns.

    Args:
        user: Before and behind what a user says.
        answer: Before an answer; also what asks for one, unless `prompt` says otherwise.
        after: Behind an answer.
        last: Behind the answer that ends the chat, where it differs.
        system: Before and behind a system turn.
        fold: Before and behind a system text inside the first question; `system` is not used then.
        prompt: What asks for an answer.
        start: In front of everything.
        front: Tokens in front of everything that are left out if the tokenizer does not know them.
        preamble: The system text of a chat that has none.
        trim: White space around contents is removed; with `fold`, around the question with what is in it.
        trim_folded: It is removed from the question before a system text is put in.
        rounds: Text before each question, with the number of the round in place of {}.
        ends: Tokens that may end an answer, best first; none means eos.
        tokens: Tokens that the format needs.
    """

    user: tuple[Pieces, Pieces]
    answer: str
    after: Pieces = (END,)
    last: Pieces | None = None
    system: tuple[Pieces, Pieces] = ("", "")
    fold: tuple[str, str] | None = None
    prompt: str | None = None
    start: Pieces = (BOS,)
    front: tuple[str, ...] = ()
    preamble: str | None = None
    trim: bool = False
    trim_folded: bool = False
    rounds: str = ""
    ends: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


def literal(text: str) -> str:
    """A text as a Jinja literal, whatever it holds."""
    return json.dumps(text, ensure_ascii=False)


def write_sides(name: str, sides: Sides, tokens: Tokens) -> str:
    """The Jinja of a format for a tokenizer."""
    front = "".join(token for token in sides.front if token in tokens.known)
    around = [tokens.text(pieces) for pieces in sides.system]
    lines = []
    if sides.fold is None:
        system = f"{{{{- {_around(around, sides.trim, 'system')} -}}}}"
        lines.append(f"{{%- if system is not none -%}}{system}{{%- endif -%}}")
    lines += [
        "{%- for turn in turns -%}",
        *_refused_turns(name, bool(around[0])),
        '{%- if turn.role == "user" -%}',
        *_question(sides, tokens),
        '{%- elif turn.role == "assistant" -%}',
        f"{{{{- {literal(sides.answer)} + {_content(sides.trim, 'turn.content')} -}}}}",
        *_behind(sides, tokens),
        *(["{%- else -%}", f"{{{{- {_around(around, sides.trim, 'turn.content')} -}}}}"] if around[0] else []),
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    if sides.fold is not None:
        homeless = f"The {name} format writes a system turn into a question, and here is none."
        lines.append(f"{{%- if state.system is not none -%}}{_refuse(homeless)}{{%- endif -%}}")
    asking = sides.answer if sides.prompt is None else sides.prompt
    if asking:
        lines.append(f"{{%- if add_generation_prompt -%}}{{{{- {literal(asking)} -}}}}{{%- endif -%}}")
    return "\n".join([*_opening(name, sides, front + tokens.text(sides.start)), *lines])


def _opening(name: str, sides: Sides, start: str) -> list[str]:
    given = "none" if sides.preamble is None else literal(sides.preamble)
    lines = [
        f"{{%- if tools -%}}{_refuse(f'This {name} template writes no tools.')}{{%- endif -%}}",
        '{%- if messages and messages[0].role == "system" -%}',
        '{%- set system = messages[0].content or "" -%}',
        "{%- set turns = messages[1:] -%}",
        "{%- else -%}",
        f"{{%- set system = {given} -%}}",
        "{%- set turns = messages -%}",
        "{%- endif -%}",
    ]
    if sides.fold is not None:
        lines.append("{%- set state = namespace(system=system) -%}")
    elif sides.rounds:
        lines.append("{%- set state = namespace(round=0) -%}")
    if start:
        lines.append(f"{{{{- {literal(start)} -}}}}")
    return lines


def _refused_turns(name: str, systems: bool) -> list[str]:
    """`systems`: a system turn has marks of its own, so it may stand anywhere."""
    calls = _refuse(f"This {name} template writes no calls of tools.")
    roles = json.dumps(["user", "assistant", *(["system"] if systems else [])])
    role = _refuse(f"The {name} format has no place for a turn of this role here: ", "turn.role")
    return [
        f"{{%- if turn.tool_calls -%}}{calls}{{%- endif -%}}",
        f"{{%- if turn.role not in {roles} -%}}{role}{{%- endif -%}}",
    ]


def _question(sides: Sides, tokens: Tokens) -> list[str]:
    around = [tokens.text(pieces) for pieces in sides.user]
    lines = []
    if sides.rounds:
        opening, _unused, closing = sides.rounds.partition("{}")
        lines += [
            "{%- set state.round = state.round + 1 -%}",
            f"{{{{- {literal(opening)} ~ state.round ~ {literal(closing)} -}}}}",
        ]
    content = "turn.content"
    if sides.fold is not None:
        opening, closing = map(literal, sides.fold)
        own = _content(sides.trim_folded, "turn.content")
        lines += [
            f"{{%- set content = {own} -%}}",
            "{%- if state.system is not none -%}",
            f"{{%- set content = {opening} + state.system + {closing} + content -%}}",
            "{%- set state.system = none -%}",
            "{%- endif -%}",
        ]
        content = "content"
    return [*lines, f"{{{{- {_around(around, sides.trim, content)} -}}}}"]


def _behind(sides: Sides, tokens: Tokens) -> list[str]:
    after = tokens.text(sides.after)
    last = after if sides.last is None else tokens.text(sides.last)
    if last == after:
        return [f"{{{{- {literal(after)} -}}}}"] if after else []
    return [
        f"{{{{- {literal(last)} if loop.last and not add_generation_prompt else {literal(after)} -}}}}"
    ]


def _content(trim: bool, name: str) -> str:
    return f'({name} or "") | trim' if trim else f'({name} or "")'


def _around(sides: Sequence[str], trim: bool, name: str) -> str:
    parts = [literal(sides[0]) if sides[0] else "", _content(trim, name), literal(sides[1]) if sides[1] else ""]
    return " ~ ".join(part for part in parts if part)


def _refuse(sentence: str, more: str = "") -> str:
    return f"{{{{- raise_exception({literal(sentence)}{' ~ ' + more if more else ''}) -}}}}"
