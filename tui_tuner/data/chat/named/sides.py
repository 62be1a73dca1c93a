"""Formats that put a text before and behind each turn: described by those texts, and written as Jinja.

Most published chat formats are of this kind. What is written is one plain template for one tokenizer, with
its BOS and end token as literals, so it says the same wherever it is loaded later.
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
    system = [tokens.text(pieces) for pieces in sides.system]
    anywhere = sides.fold is None and bool(system[0])  # a system turn that has a mark of its own
    lines = _opening(name, sides, tokens)
    if sides.fold is None:
        written = _shown(_around(system, "system", sides.trim))
        lines.append(f"{{%- if system is not none -%}}{written}{{%- endif -%}}")
    lines += ["{%- for turn in turns -%}", *_refused_turns(name, anywhere)]
    lines += ['{%- if turn.role == "user" -%}', *_question(sides, tokens)]
    lines += ['{%- elif turn.role == "assistant" -%}', *_answer(sides, tokens)]
    if anywhere:
        lines += ["{%- else -%}", _shown(_around(system, "turn.content", sides.trim))]
    lines += ["{%- endif -%}", "{%- endfor -%}"]
    if sides.fold is not None:
        homeless = f"The {name} format writes a system turn into a question, and here is none."
        lines.append(f"{{%- if state.system is not none -%}}{_refuse(homeless)}{{%- endif -%}}")
    asking = sides.answer if sides.prompt is None else sides.prompt
    if asking:
        lines.append(f"{{%- if add_generation_prompt -%}}{_shown(literal(asking))}{{%- endif -%}}")
    return "\n".join(lines)


def _opening(name: str, sides: Sides, tokens: Tokens) -> list[str]:
    """Up to the first turn: what is refused, the system text, what stands in front of everything."""
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
    front = "".join(token for token in sides.front if token in tokens.known) + tokens.text(sides.start)
    return [*lines, _shown(literal(front))] if front else lines


def _refused_turns(name: str, systems: bool) -> list[str]:
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
        opening, _unused, closing = map(literal, sides.rounds.partition("{}"))
        lines.append("{%- set state.round = state.round + 1 -%}")
        lines.append(_shown(f"{opening} ~ state.round ~ {closing}"))
    content = "turn.content"
    if sides.fold is not None:
        content = "content"
        own = _content("turn.content", sides.trim_folded)
        folded = " ~ ".join([*_parts(sides.fold, "state.system"), "content"])
        lines += [
            f"{{%- set content = {own} -%}}",
            "{%- if state.system is not none -%}",
            f"{{%- set content = {folded} -%}}",
            "{%- set state.system = none -%}",
            "{%- endif -%}",
        ]
    trim = sides.trim and not sides.trim_folded
    return [*lines, _shown(_around(around, content, trim))]


def _answer(sides: Sides, tokens: Tokens) -> list[str]:
    lines = [_shown(_around((sides.answer, ""), "turn.content", sides.trim))]
    after = tokens.text(sides.after)
    last = after if sides.last is None else tokens.text(sides.last)
    if last != after:
        ends = f"{literal(last)} if loop.last and not add_generation_prompt else {literal(after)}"
        return [*lines, _shown(ends)]
    return [*lines, _shown(literal(after))] if after else lines


def _shown(expression: str) -> str:
    return f"{{{{- {expression} -}}}}"


def _content(name: str, trim: bool) -> str:
    return f'({name} or "") | trim' if trim else f'({name} or "")'


def _around(sides: Sequence[str], name: str, trim: bool) -> str:
    """What joins a content with the texts around it."""
    return " ~ ".join(_parts(sides, _content(name, trim)))


def _parts(sides: Sequence[str], content: str) -> list[str]:
    before, behind = (literal(side) if side else "" for side in sides)
    return [part for part in (before, content, behind) if part]


def _refuse(sentence: str, more: str = "") -> str:
    return _shown(f"raise_exception({literal(sentence)}{' ~ ' + more if more else ''})")
