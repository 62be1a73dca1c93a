"""YAML that anybody may have written: read within bounds, and every mistake named with its line and its key.

A first pass over the events of the parser, which costs little, counts what the text amounts to with its
aliases written out, so nothing grows beyond a bound before it is refused. Only then are values made of it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from tui_tuner.locales import _
from tui_tuner.text import one_line

MOST_NODES = 50_000  # keys, values, lists and mappings, with aliases written out
MOST_DEPTH = 50
LONGEST_NUMBER = 1000  # characters of what YAML takes for a number or a date
_NAMES_ALL = 65_536  # characters: a short text is parsed again by the parser that explains itself better
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge", "value")
_COLLECTIONS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class BadYaml(Exception):
    """What is wrong with a YAML text.

    Args:
        problem: What it is, without a full stop.
        line: Where it stands, from 1; None where that is not known.
        path: The dotted path of the key that it belongs to, as far as it is known.
        hint: What to do.
        valid: Whether the text is YAML nonetheless.
    """

    def __init__(
        self, problem: str, line: int | None = None, path: str = "", hint: str = "", valid: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem, self.line, self.path, self.hint, self.valid = problem, line, path, hint, valid

    def sentence(self) -> str:
        """What is wrong, as a sentence about the text."""
        said = _("{problem}.", problem=self.problem) if self.valid else ""
        return said or _("is not valid YAML: {problem}.", problem=self.problem)


def parse_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """The value of a YAML text, and the line (from 1) of each dotted path in it; None where it is empty.

    Raises:
        BadYaml: it is none, stands for more than a config can hold, or has a key twice.
    """
    try:
        return _parsed_by(_loaders()[0], text)
    except BadYaml as problem:
        if problem.valid or len(text) > _NAMES_ALL or len(_loaders()) == 1:
            raise
    return _parsed_by(_loaders()[1], text)  # its messages say more


def _parsed_by(kind: Any, text: str) -> tuple[Any, dict[str, int]]:
    keys = _Keys()
    try:
        _measure(yaml.parse(text, Loader=kind), keys)
        loader = kind(text)
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            if node is None:
                return None, lines
            _index(node, "", lines)  # before merges are written into the nodes
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _explained(error, text, keys) from None
    except UnicodeError:
        raise BadYaml(_("it holds half of a character")) from None
    except (ValueError, RecursionError) as error:
        raise BadYaml(one_line(error)) from None


def _explained(error: yaml.YAMLError, text: str, keys: _Keys) -> BadYaml:
    """What PyYAML says, with the line and key that it says it of."""
    if isinstance(error, yaml.reader.ReaderError):
        return _unreadable(error, text, keys)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    problem = one_line(getattr(error, "problem", None) or str(error))
    shown = _LINE_END.split(text)[line - 1 :][:1] if line else []
    key = re.match(r"\s*([\w.]+)\s*:", shown[0]) if shown else None  # where the parser had come to none yet
    hint = getattr(error, "note", None) or ""
    if not isinstance(error, yaml.constructor.ConstructorError):
        hint = yaml_hint(problem, shown[0] if shown else "")
    return BadYaml(problem, line, keys.near(line) or (key[1] if key else ""), hint)


def _unreadable(error: yaml.reader.ReaderError, text: str, keys: _Keys) -> BadYaml:
    """A character that YAML does not take."""
    found = error.character
    code = found if isinstance(found, int) else ord(found) if len(found) == 1 else 0
    at = text.find(chr(code))
    line = len(_LINE_END.findall(text[:at])) + 1 if at >= 0 else None
    what = _("it holds the control character {character}", character=f"U+{code:04X}")
    return BadYaml(what, line, keys.near(line))


def yaml_hint(problem: str, line: str) -> str:
    """What people do that YAML does not take; empty where it is something else."""
    if "escape" in problem or "hexadecimal" in problem:
        return _(
            "In double quotes a backslash begins an escape: write a path of Windows in single quotes, "
            "or with /."
        )
    if "\t" in line:
        return _("There is a tab in this line: YAML takes spaces.")
    if re.search(r"^[^#'\"]*:[^ \n].*:|: .*: ", line):
        return _("Text with a colon and a space in it needs quotes.")
    return ""


# ---- the first pass ---------------------------------------------------------------------------------------


@dataclass
class _Keys:
    """The dotted path of each key, in the order of lines."""

    lines: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def add(self, line: int, path: str) -> None:
        self.lines.append(line)
        self.paths.append(path)

    def near(self, line: int | None) -> str:
        """The last key at or above a line."""
        at = bisect_right(self.lines, line) if line else len(self.lines)
        return self.paths[at - 1] if at else ""


@dataclass
class _Open:
    """A list or mapping whose end has not come: nodes in it so far, and the key that is being filled."""

    anchor: str | None
    mapping: bool
    path: str
    nodes: int = 1
    items: int = 0
    key: str = ""


def _measure(events: Iterator[Any], keys: _Keys) -> None:
    """Walk the events of a text; refuse what is too much, and aliases that lead into themselves."""
    stack: list[_Open] = []
    sizes: dict[str, int] = {}
    documents = total = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BadYaml(_("it holds several documents"), line, hint=_("Leave one, without ---."))
        if isinstance(event, _ENDS):
            done = stack.pop()
            if done.anchor:
                sizes[done.anchor] = done.nodes
            if stack:
                stack[-1].nodes += done.nodes
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        path = _step(stack, event, line, keys)
        nodes = 1
        if isinstance(event, yaml.AliasEvent):
            if any(one.anchor == event.anchor for one in stack):
                what = _(
                    "the alias *{name} stands inside of what it repeats", name=one_line(event.anchor, 40)
                )
                raise BadYaml(what, line, path)
            nodes = sizes.get(event.anchor or "", 1)
        total += nodes
        if total > MOST_NODES:
            raise BadYaml(_("it holds more than {most:,} values", most=MOST_NODES), line, path, valid=True)
        if isinstance(event, _COLLECTIONS):
            stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent), path))
            if len(stack) > MOST_DEPTH:
                raise BadYaml(
                    _("it is nested more than {most} levels deep", most=MOST_DEPTH), line, path, valid=True
                )
        else:
            if event.anchor and not isinstance(event, yaml.AliasEvent):
                sizes[event.anchor] = 1
            if stack:
                stack[-1].nodes += nodes


def _step(stack: list[_Open], event: Any, line: int, keys: _Keys) -> str:
    """The path of the node that begins, which is noted in the list or mapping that it stands in."""
    if not stack:
        return ""
    top = stack[-1]
    place, top.items = top.items, top.items + 1
    if not top.mapping:
        return top.path
    if place % 2 == 0:
        top.key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if top.key:
            keys.add(line, _joined(top.path, top.key))
    return _joined(top.path, top.key) if top.key else top.path


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


# ---- values -----------------------------------------------------------------------------------------------


@cache
def _loaders() -> tuple[Any, ...]:
    """The loaders of PyYAML, made safe: by libyaml where there is one, several times faster, and its own."""
    fast = [yaml.CSafeLoader] if yaml.__with_libyaml__ else []
    return tuple(type("Loader", (_Careful, kind), {}) for kind in (*fast, yaml.SafeLoader))


class _Careful:
    """Whatever a constructor trips over becomes an error of YAML, with its place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        shown = one_line(node.value, 40) if isinstance(node, yaml.ScalarNode) else ""
        if kind == "timestamp":
            raise _refused(node, _("{value} is a date", value=shown), _("Put it in quotes."))
        if kind not in _KINDS:
            raise _refused(node, _("the tag !{kind} means nothing here", kind=one_line(kind, 40).lstrip("!")))
        if isinstance(node, yaml.ScalarNode) and kind != "str" and len(node.value) > LONGEST_NUMBER:
            raise _refused(node, _("a number of {count:,} characters", count=len(node.value)))
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except yaml.YAMLError:
            raise
        except Exception:  # a tag that does not fit: KeyError, ValueError, AttributeError, OverflowError ...
            raise _refused(node, _("{value!r} is no {kind}", value=shown, kind=one_line(kind, 40))) from None


def _refused(node: yaml.Node, problem: str, hint: str = "") -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark, hint)


def _index(node: yaml.Node, prefix: str, lines: dict[str, int]) -> None:
    """The line of every path; a key that stands twice is refused, inside of lists too."""
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _index(item, f"{prefix}{place}.", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # making a value of it says what is wrong
        path = f"{prefix}{key.value}"
        if path in lines:
            raise BadYaml(
                _("{path} stands twice", path=one_line(path, 80)),
                key.start_mark.line + 1,
                path,
                _("It stands on line {line} too: bring the two together.", line=lines[path]),
                valid=True,
            )
        lines[path] = key.start_mark.line + 1
        _index(value, f"{path}.", lines)
