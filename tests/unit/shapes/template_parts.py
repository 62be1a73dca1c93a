"""Chat templates composed from features, each of which says what of it is the model's.

A template is written once, with marks around what the model itself has to write: ⟦…⟧ must be trained, ⟨…⟩ may
be, all else never. Without the marks it is the template that is tested; rendered with them, it says what is
right. So the truth is part of the template, and is found by rendering alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN, CLOSE, MAY_OPEN, MAY_CLOSE = "⟦⟧⟨⟩"
_MARKS = re.compile("[⟦⟧⟨⟩]")
_SPECIAL = re.compile(r"<\|/?[a-z]+\|>|\[/?[A-Z]{3,}\]|\[\|[a-z]+\|\]")
_STOP = re.compile(r"<\|[a-z]+\|>|\[\|[a-z]+\|\]|</s>")
_ADDED = re.compile(r"</?(?:think|muse|call)>")


@dataclass(frozen=True)
class Frame:
    """How turns begin and end. `C` stands for the content, and `STOP` is what stands behind an answer.

    Args:
        user: A question's turn.
        header: What stands in front of an answer.
        prompt: What `add_generation_prompt` adds: the header, unless something else is given.
        stop: What ends an answer, as the model writes it.
        after: What follows it and is nobody's.
        end: What stands at the end of a chat that is not to be gone on with.
        eos: The tokenizer's eos, if it is not the stop.
        ends: What else the model's generation config stops at.
        trim: A filter of contents.
        content: The content of a message `m`.
        turn_end: What ends a tool's result, `END` in its source.
        lead: What the model writes in front of its content.
        system: own (a turn of its own), first (in the first question), last (in the last one), refused.
        check: Source that raises where turns are in a wrong order.
    """

    name: str
    user: str = "<|ask|>\nC<|over|>\n"
    header: str = "<|bot|>\n"
    stop: str = "<|over|>"
    after: str = "\n"
    prompt: str | None = None
    bos: str = ""
    end: str = ""
    eos: str = ""
    ends: tuple[str, ...] = ()
    trim: str = ""
    content: str = "m.content or ''"
    turn_end: str = "<|over|>\n"
    system: str = "own"
    rule: str = "<|rule|>\nC<|over|>\n"
    check: str = ""
    lead: str = ""
    generation: bool = False


@dataclass(frozen=True)
class Thinking:
    """What becomes of reasoning.

    Args:
        setting: Sets `t` to the reasoning of an answer `m` and `c` to the rest of its content.
        opening: Everything between the header and the content; it opens the model's own text.
        prompt: What the generation prompt opens behind the header.
        inside: Whether it looks for reasoning inside the content.
    """

    name: str
    setting: str = ""
    opening: str = OPEN
    prompt: str = ""
    inside: bool = False


@dataclass(frozen=True)
class Tools:
    """What becomes of tools, calls and results.

    Args:
        listing: The source that lists `tools`.
        calls: Writes the calls of an answer `m`.
        result: Writes a turn of the role tool; `C` is its content, and `END` ends it.
        ends: Whether an answer that ends in a call has the stop of other answers.
        inside: Whether results stand in the model's own turn.
        drops_content: Whether the content of an answer with calls is left out.
        behind: What is written behind an answer that ends in a call, and is nobody's.
    """

    name: str
    listing: str = ""
    calls: str = ""
    result: str = ""
    ends: bool = True
    inside: bool = False
    drops_content: bool = False
    behind: str = ""
    check: str = ""


@dataclass(frozen=True)
class Shape:
    """A template with its marks, and what its model stops at.

    Args:
        own: The tokens that it ends answers with.
        inside: Whether it looks for reasoning inside the content.
        parts: Whether it takes contents as parts only.
    """

    name: str
    marked: str
    eos: str
    ends: tuple[str, ...]
    own: tuple[str, ...]
    inside: bool
    parts: bool

    @property
    def template(self) -> str:
        return _MARKS.sub("", self.marked)

    @property
    def specials(self) -> tuple[str, ...]:
        """The markers that are special tokens."""
        found = {"<s>", self.eos, *self.ends, *_SPECIAL.findall(self.template)}
        return tuple(sorted(found))

    @property
    def generation_ends(self) -> tuple[str, ...]:
        """What the model's generation config stops at."""
        return (self.eos, *self.ends)

    @property
    def added(self) -> list[str]:
        """Markers that are tokens, but not special ones."""
        return sorted(set(_ADDED.findall(self.template)))

    @property
    def stops(self) -> tuple[str, ...]:
        """What an answer may end with."""
        return tuple(dict.fromkeys((self.eos, *self.ends, *self.own)))


def raises(text: str) -> str:
    return "{{ raise_exception('" + text + "') }}"


def _written(source: str, content: str) -> str:
    """Source in which `C` stands for an expression."""
    return re.sub(r"\bC(?=\b|END)", lambda _found: "{{ " + content + " }}", source)


BEFORE = "messages[loop.index0 - 1].role"
_LAST_QUESTION = (
    "{% set ns = namespace(last=-1, held='') %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)


def _system(frame: Frame) -> str:
    """The branch of the loop for a system turn."""
    begin = "{% if m.role == 'system' %}"
    if frame.system == "refused":
        return begin + raises("No system turns here")
    if frame.system == "own":
        return begin + _written(frame.rule, "c")
    return begin + "{% set ns.held = c + '\\n\\n' %}"


def _question(frame: Frame) -> str:
    held = {"first": "ns.held + c", "last": "(ns.held if loop.index0 == ns.last else '') + c"}
    source = _written(frame.user, held.get(frame.system, "c"))
    clear = "{% set ns.held = '' %}" if frame.system == "first" else ""
    return "{% elif m.role == 'user' %}" + source + clear


def _answer(frame: Frame, thinking: Thinking, tools: Tools) -> str:
    """The branch for an answer."""
    header = frame.header
    if tools.inside:
        header = "{% if not (loop.index0 and " + BEFORE + " == 'tool') %}" + header + "{% endif %}"
    words = "{{ c }}"
    if tools.drops_content:
        words = "{% if not m.tool_calls %}{{ c }}{% endif %}"
    opening = thinking.opening.replace(OPEN, OPEN + frame.lead)
    stop = frame.stop
    closing = stop + CLOSE + frame.after
    if not tools.ends or tools.behind:
        closing = "{% if m.tool_calls %}" + CLOSE + tools.behind + "{% else %}" + closing + "{% endif %}"
    body = words + tools.calls
    if frame.generation:
        body = "{% generation %}" + body + "{% endgeneration %}"
    return "{% elif m.role == 'assistant' %}" + thinking.setting + header + opening + body + closing


def _result(frame: Frame, tools: Tools) -> str:
    """The branch for a tool's result; templates that know none write it as if somebody had asked it."""
    return "{% else %}" + _written(tools.result or frame.user, "c").replace("END", frame.turn_end)


def _prompt(frame: Frame, thinking: Thinking, tools: Tools) -> str:
    wanted = (frame.header if frame.prompt is None else frame.prompt) + thinking.prompt
    asked = "add_generation_prompt"
    if tools.inside:
        asked += " and messages[-1].role != 'tool'"
    source = "{% if " + asked + " %}" + wanted + "{% endif %}" if wanted else ""
    if frame.end:
        source += "{% if not add_generation_prompt %}" + frame.end + "{% endif %}"
    return source


def compose(frame: Frame, thinking: Thinking, tools: Tools) -> Shape:
    """The shape of these features."""
    content = "{% set c = (" + frame.content + ")" + (f" | {frame.trim}" if frame.trim else "") + " %}"
    checks = frame.check + tools.check
    listing = "{% if tools %}" + tools.listing + "{% endif %}" if tools.listing else ""
    source = (
        frame.bos
        + _LAST_QUESTION
        + listing
        + "{% for m in messages %}"
        + checks
        + content
        + _system(frame)
        + _question(frame)
        + _answer(frame, thinking, tools)
        + _result(frame, tools)
        + "{% endif %}{% endfor %}"
        + _prompt(frame, thinking, tools)
    )
    source = source.replace("\n", "{{ '\\n' }}")  # so that no new line of a literal is trimmed away
    name = ", ".join(filter(None, (frame.name, thinking.name, tools.name)))
    own = tuple(_STOP.findall(frame.stop))
    parts = "[0]" in frame.content
    return Shape(name, source, frame.eos or own[-1], frame.ends, own, thinking.inside, parts)
