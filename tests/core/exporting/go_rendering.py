"""A renderer for the part of Go's text/template that Modelfiles of ours use, with Ollama's values.

Ollama joins consecutive messages of one role, and gives all system messages as `.System` and the chat as
`.Messages`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

_TAG = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.S)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()]+')


def render_go(template: str, messages: Sequence[dict[str, str]]) -> str:
    """Render a chat as Ollama would."""
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    told = [{"Role": one["role"], "Content": one["content"]} for one in messages]
    values = {"System": system, "Messages": told, "Prompt": messages[-1]["content"]}
    tokens = list(_split(template))
    nodes, rest = _parse(tokens)
    assert not rest, rest
    return _render(nodes, values, {"$": values})


def _split(template: str) -> Iterator[tuple[str, str]]:
    place, trim = 0, False
    for found in _TAG.finditer(template):
        text = template[place : found.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if found[1] else text
        if text:
            yield "text", text
        yield "tag", found[2]
        place, trim = found.end(), bool(found[3])
    text = template[place:]
    yield "text", text.lstrip() if trim else text


def _parse(tokens: list[tuple[str, str]]) -> tuple[list[Any], list[tuple[str, str]]]:
    nodes: list[Any] = []
    while tokens:
        kind, text = tokens[0]
        if kind == "tag" and (text == "end" or text.startswith("else")):
            return nodes, tokens
        tokens = tokens[1:]
        if kind == "text":
            nodes.append(("text", text))
        elif text.startswith("range "):
            body, tokens = _parse(tokens)
            assert tokens[0][1] == "end"
            nodes.append(("range", text[6:], body))
            tokens = tokens[1:]
        elif text.startswith("if "):
            branches, other, tokens = _parse_branches(text[3:], tokens)
            nodes.append(("if", branches, other))
        else:
            nodes.append(("value", text))
    return nodes, tokens


def _parse_branches(condition: str, tokens: list[tuple[str, str]]) -> tuple[Any, Any, list[tuple[str, str]]]:
    branches, other = [], []
    while True:
        body, tokens = _parse(tokens)
        branches.append((condition, body))
        word, tokens = tokens[0][1], tokens[1:]
        if word == "end":
            return branches, other, tokens
        if word == "else":
            other, tokens = _parse(tokens)
            assert tokens[0][1] == "end"
            return branches, other, tokens[1:]
        condition = word.removeprefix("else if ")


def _render(nodes: list[Any], dot: Any, names: dict[str, Any]) -> str:
    text = ""
    for node in nodes:
        if node[0] == "text":
            text += node[1]
        elif node[0] == "value":
            text += str(_evaluate(node[1], dot, names))
        elif node[0] == "if":
            chosen = next((body for told, body in node[1] if _evaluate(told, dot, names)), node[2])
            text += _render(chosen, dot, names)
        else:
            variables, _sign, listed = node[1].partition(":=")
            first, second = (one.strip() for one in variables.split(","))
            for number, item in enumerate(_evaluate(listed.strip(), dot, names)):
                text += _render(node[2], item, {**names, first: number, second: item})
    return text


def _evaluate(expression: str, dot: Any, names: dict[str, Any]) -> Any:
    words = _WORD.findall(expression)
    value, rest = _call(words, dot, names)
    assert not rest, expression
    return value


def _call(words: list[str], dot: Any, names: dict[str, Any]) -> tuple[Any, list[str]]:
    found = []
    while words and words[0] != ")":
        if words[0] == "(":
            value, words = _call(words[1:], dot, names)
            assert words[0] == ")"
            words = words[1:]
        else:
            value, words = _read(words[0], dot, names), words[1:]
        found.append(value)
    if callable(found[0]):
        return found[0](*found[1:]), words
    assert len(found) == 1, found
    return found[0], words


def _read(word: str, dot: Any, names: dict[str, Any]) -> Any:
    functions = {
        "eq": lambda one, other: one == other,
        "and": lambda *all_: next((one for one in all_ if not one), all_[-1]),
        "gt": lambda one, other: one > other,
        "len": len,
        "slice": lambda items, start: items[start:],
    }
    if word in functions:
        return functions[word]
    if word.startswith('"'):
        return word[1:-1]
    if word.isdigit():
        return int(word)
    if word.startswith("$"):
        name, _dot, rest = word.partition(".")
        return names[name][rest] if rest else names[name]
    assert word.startswith("."), word
    return dot[word[1:]]
