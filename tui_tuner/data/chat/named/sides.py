"""Describe formats by the texts before and after each turn, and write them as Jinja.

Most published chat formats are of this kind. The result is one plain template for one tokenizer, with its
BOS and end token as literals, so it writes the same wherever it is loaded later.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass


class TokenMark(enum.Enum):
    """A token that depends on the tokenizer.

    `BOS` is written only if the tokenizer puts one before text, `ANY_BOS` in any case; `END` ends an answer,
    and `EOS` is the eos token if that is not `END`.
    """

    BOS = "bos"
    ANY_BOS = "any_bos"
    END = "end"
    EOS = "eos"


BOS, ANY_BOS, END, EOS = TokenMark.BOS, TokenMark.ANY_BOS, TokenMark.END, TokenMark.EOS
Pieces = Sequence[str | TokenMark]


@dataclass(frozen=True)
class TemplateTokens:
    """The tokens of a tokenizer that a template needs.

    Args:
        bos: Its BOS, if it puts one before plain text; else empty.
        any_bos: Its BOS, or empty if it has none.
        end: The token that ends an answer.
        eos: Its eos, or empty if that is `end`.
        known: All of its tokens.
    """

    bos: str
    any_bos: str
    end: str
    eos: str
    known: frozenset[str]

    def join_pieces(self, pieces: Pieces) -> str:
        """Join pieces, with the tokenizer's own tokens in the place of marks."""
        return "".join(
            piece if isinstance(piece, str) else str(getattr(self, piece.value)) for piece in pieces
        )


@dataclass(frozen=True)
class SideFormat:
    """A format described by the texts around its turns.

    Args:
        user: Before and after a user turn.
        answer: Before an answer; also the generation prompt, unless `prompt` is given.
        after: After an answer.
        last: After the answer that ends the chat, if that differs.
        system: Before and after a system turn.
        fold: Before and after a system text inside the first question; `system` is not used then.
        prompt: The generation prompt.
        start: At the start of the chat.
        front: Tokens at the start that are left out if the tokenizer does not have them.
        preamble: The system text of a chat that has none.
        trim: Remove white space around contents; with `fold`, around the question with the system text in it.
        trim_folded: Remove it from the question before a system text is inserted.
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


def quote_jinja(text: str) -> str:
    """Write any text as a Jinja literal."""
    # A JSON string is a valid Jinja literal too, with the same escapes.
    return json.dumps(text, ensure_ascii=False)


def write_sides(name: str, sides: SideFormat, tokens: TemplateTokens) -> str:
    """Write the Jinja template of a format for a tokenizer."""
    system = [tokens.join_pieces(pieces) for pieces in sides.system]
    # Only a system turn with its own mark is recognisable in the middle of a chat.
    anywhere = sides.fold is None and bool(system[0])
    lines = _write_opening(name, sides, tokens)
    if sides.fold is None:
        written = _print_expression(_join_sides(system, "system", sides.trim))
        lines.append(f"{{%- if system is not none -%}}{written}{{%- endif -%}}")
    lines += ["{%- for turn in turns -%}", *_write_refusals(name, anywhere)]
    lines += ['{%- if turn.role == "user" -%}', *_write_question(sides, tokens)]
    lines += ['{%- elif turn.role == "assistant" -%}', *_write_answer(sides, tokens)]
    if anywhere:
        lines += ["{%- else -%}", _print_expression(_join_sides(system, "turn.content", sides.trim))]
    lines += ["{%- endif -%}", "{%- endfor -%}"]
    # No question came after the system text, so it would be lost silently.
    if sides.fold is not None:
        homeless = f"The {name} format writes a system turn into a question, and here is none."
        lines.append(f"{{%- if state.system is not none -%}}{_raise_expression(homeless)}{{%- endif -%}}")
    asking = sides.answer if sides.prompt is None else sides.prompt
    if asking:
        lines.append(
            f"{{%- if add_generation_prompt -%}}{_print_expression(quote_jinja(asking))}{{%- endif -%}}"
        )
    return "\n".join(lines)


def _write_opening(name: str, sides: SideFormat, tokens: TemplateTokens) -> list[str]:
    """Write the part before the first turn: what is refused, the system text, and the start of the chat."""
    given = "none" if sides.preamble is None else quote_jinja(sides.preamble)
    lines = [
        f"{{%- if tools -%}}{_raise_expression(f'This {name} template writes no tools.')}{{%- endif -%}}",
        '{%- if messages and messages[0].role == "system" -%}',
        '{%- set system = messages[0].content or "" -%}',
        "{%- set turns = messages[1:] -%}",
        "{%- else -%}",
        f"{{%- set system = {given} -%}}",
        "{%- set turns = messages -%}",
        "{%- endif -%}",
    ]
    if sides.fold is not None:
        # A plain variable that is set inside of a loop is lost after each round in Jinja.
        lines.append("{%- set state = namespace(system=system) -%}")
    elif sides.rounds:
        lines.append("{%- set state = namespace(round=0) -%}")
    front = "".join(token for token in sides.front if token in tokens.known) + tokens.join_pieces(sides.start)
    return [*lines, _print_expression(quote_jinja(front))] if front else lines


def _write_refusals(name: str, systems: bool) -> list[str]:
    calls = _raise_expression(f"This {name} template writes no calls of tools.")
    roles = json.dumps(["user", "assistant", *(["system"] if systems else [])])
    role = _raise_expression(f"The {name} format has no place for a turn of this role here: ", "turn.role")
    return [
        f"{{%- if turn.tool_calls -%}}{calls}{{%- endif -%}}",
        f"{{%- if turn.role not in {roles} -%}}{role}{{%- endif -%}}",
    ]


def _write_question(sides: SideFormat, tokens: TemplateTokens) -> list[str]:
    around = [tokens.join_pieces(pieces) for pieces in sides.user]
    lines = []
    if sides.rounds:
        opening, _unused, closing = map(quote_jinja, sides.rounds.partition("{}"))
        lines.append("{%- set state.round = state.round + 1 -%}")
        lines.append(_print_expression(f"{opening} ~ state.round ~ {closing}"))
    content = "turn.content"
    # The system text goes into the first question only; the state then becomes none.
    if sides.fold is not None:
        content = "content"
        own = _content_expression("turn.content", sides.trim_folded)
        folded = " ~ ".join([*_list_parts(sides.fold, "state.system"), "content"])
        lines += [
            f"{{%- set content = {own} -%}}",
            "{%- if state.system is not none -%}",
            f"{{%- set content = {folded} -%}}",
            "{%- set state.system = none -%}",
            "{%- endif -%}",
        ]
    trim = sides.trim and not sides.trim_folded
    return [*lines, _print_expression(_join_sides(around, content, trim))]


def _write_answer(sides: SideFormat, tokens: TemplateTokens) -> list[str]:
    lines = [_print_expression(_join_sides((sides.answer, ""), "turn.content", sides.trim))]
    after = tokens.join_pieces(sides.after)
    last = after if sides.last is None else tokens.join_pieces(sides.last)
    # While an answer is asked for, the last one so far is not the last of the chat.
    if last != after:
        ends = f"{quote_jinja(last)} if loop.last and not add_generation_prompt else {quote_jinja(after)}"
        return [*lines, _print_expression(ends)]
    return [*lines, _print_expression(quote_jinja(after))] if after else lines


def _print_expression(expression: str) -> str:
    return f"{{{{- {expression} -}}}}"


def _content_expression(name: str, trim: bool) -> str:
    return f'({name} or "") | trim' if trim else f'({name} or "")'


def _join_sides(sides: Sequence[str], name: str, trim: bool) -> str:
    """Write the expression that joins a content with the texts around it."""
    return " ~ ".join(_list_parts(sides, _content_expression(name, trim)))


def _list_parts(sides: Sequence[str], content: str) -> list[str]:
    before, behind = (quote_jinja(side) if side else "" for side in sides)
    return [part for part in (before, content, behind) if part]


def _raise_expression(sentence: str, more: str = "") -> str:
    return _print_expression(f"raise_exception({quote_jinja(sentence)}{' ~ ' + more if more else ''})")
