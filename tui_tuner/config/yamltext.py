"""Read YAML from any source within limits, and report every mistake with its line and key.

A first, cheap pass over the parser's events counts the nodes with all aliases expanded, so that nothing too
large is built before it is refused. Values are only constructed after that.
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

MOST_NODES = 50_000  # keys, values, lists and mappings, with aliases expanded
MOST_DEPTH = 50
LONGEST_NUMBER = 1000  # characters of a number or date; converting a long one takes quadratic time
_NAMES_ALL = 65_536  # characters; shorter texts with mistakes are parsed again by the slow parser (see below)
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge", "value")
_COLLECTIONS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class BadYaml(Exception):
    """A problem in a YAML text.

    Args:
        problem: A sentence without its full stop.
        line: Its line, from 1; None if that is not known.
        path: The dotted path of the key that it belongs to, as far as it is known.
        hint: What to do about it.
        valid: The text is valid YAML, but not accepted here.
    """

    def __init__(
        self, problem: str, line: int | None = None, path: str = "", hint: str = "", valid: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem, self.line, self.path, self.hint, self.valid = problem, line, path, hint, valid

    def describe_problem(self) -> str:
        """Describe the problem as a sentence about the text."""
        said = _("{problem}.", problem=self.problem) if self.valid else ""
        return said or _("is not valid YAML: {problem}.", problem=self.problem)


def parse_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """Return the value of a YAML text (None if it is empty), and the line (from 1) of each dotted path in it.

    Raises:
        BadYaml: it is not YAML, is larger than any config, or has a duplicate key.
    """
    try:
        return _parsed_by(_make_loaders()[0], text)
    except BadYaml as problem:
        if problem.valid or len(text) > _NAMES_ALL or len(_make_loaders()) == 1:
            raise
    # libyaml is several times faster, but PyYAML's own parser has messages with more detail
    return _parsed_by(_make_loaders()[1], text)


def _parsed_by(kind: Any, text: str) -> tuple[Any, dict[str, int]]:
    keys = _Keys()
    try:
        _measure_events(yaml.parse(text, Loader=kind), keys)
        loader = kind(text)
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            if node is None:
                return None, lines
            # Before construction, which replaces merge keys (`<<`) in the nodes by what they refer to
            _index_lines(node, "", lines)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _explain_error(error, text, keys) from None
    except UnicodeError:
        raise BadYaml(_("it contains half of a surrogate pair")) from None
    except (ValueError, RecursionError) as error:
        raise BadYaml(one_line(error)) from None


def _explain_error(error: yaml.YAMLError, text: str, keys: _Keys) -> BadYaml:
    """Translate PyYAML's error into our words, with its line and key."""
    if isinstance(error, yaml.reader.ReaderError):
        return _explain_character(error, text, keys)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    problem = one_line(getattr(error, "problem", None) or str(error))
    shown = _LINE_END.split(text)[line - 1 :][:1] if line else []
    # For errors that come before the first key event, the line itself may show the key
    key = re.match(r"\s*([\w.]+)\s*:", shown[0]) if shown else None
    hint = getattr(error, "note", None) or ""
    if not isinstance(error, yaml.constructor.ConstructorError):
        hint = yaml_hint(problem, shown[0] if shown else "")
    return BadYaml(problem, line, keys.find_near(line) or (key[1] if key else ""), hint)


def _explain_character(error: yaml.reader.ReaderError, text: str, keys: _Keys) -> BadYaml:
    """Describe a character that YAML does not allow."""
    found = error.character
    code = found if isinstance(found, int) else ord(found) if len(found) == 1 else 0
    at = text.find(chr(code))
    line = len(_LINE_END.findall(text[:at])) + 1 if at >= 0 else None
    what = _("it contains the control character {character}", character=f"U+{code:04X}")
    return BadYaml(what, line, keys.find_near(line))


def yaml_hint(problem: str, line: str) -> str:
    """Return a hint for common YAML mistakes; empty for any other."""
    if "escape" in problem or "hexadecimal" in problem:
        return _(
            "In double quotes a backslash starts an escape: put a Windows path in single quotes, or write "
            "it with /."
        )
    if "\t" in line:
        return _("There is a tab in this line: use spaces in YAML.")
    if re.search(r"^[^#'\"]*:[^ \n].*:|: .*: ", line):
        return _("Text that contains a colon followed by a space needs quotes.")
    return ""


# ---- the first pass ---------------------------------------------------------------------------------------


@dataclass
class _Keys:
    """The dotted path of each key, ordered by line."""

    lines: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def add_key(self, line: int, path: str) -> None:
        self.lines.append(line)
        self.paths.append(path)

    def find_near(self, line: int | None) -> str:
        """Return the last key at or above a line."""
        at = bisect_right(self.lines, line) if line else len(self.lines)
        return self.paths[at - 1] if at else ""


@dataclass
class _Open:
    """A list or mapping whose end has not been reached: its nodes so far, and the key being filled."""

    anchor: str | None
    mapping: bool
    path: str
    nodes: int = 1
    items: int = 0
    key: str = ""


def _measure_events(events: Iterator[Any], keys: _Keys) -> None:
    """Walk the events of a text; refuse it if it is too large, or if an alias contains itself."""
    stack: list[_Open] = []
    sizes: dict[str, int] = {}
    documents = total = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BadYaml(_("it contains several documents"), line, hint=_("Keep one, without ---."))
        if isinstance(event, _ENDS):
            done = stack.pop()
            if done.anchor:
                sizes[done.anchor] = done.nodes
            if stack:
                stack[-1].nodes += done.nodes
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        path = _step_into(stack, event, line, keys)
        nodes = 1
        if isinstance(event, yaml.AliasEvent):
            if any(one.anchor == event.anchor for one in stack):
                what = _(
                    "the alias *{name} is inside the value that it repeats", name=one_line(event.anchor, 40)
                )
                raise BadYaml(what, line, path)
            # An alias counts as much as its target: nine lists of nine aliases each would expand to a billion
            # values
            nodes = sizes.get(event.anchor or "", 1)
        total += nodes
        if total > MOST_NODES:
            raise BadYaml(_("it contains more than {most:,} values", most=MOST_NODES), line, path, valid=True)
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


def _step_into(stack: list[_Open], event: Any, line: int, keys: _Keys) -> str:
    """Return the path of the node that begins, and record it in the list or mapping around it."""
    if not stack:
        return ""
    top = stack[-1]
    place, top.items = top.items, top.items + 1
    if not top.mapping:
        return top.path
    # Events of a mapping alternate between keys and values
    if place % 2 == 0:
        top.key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if top.key:
            keys.add_key(line, _join_path(top.path, top.key))
    return _join_path(top.path, top.key) if top.key else top.path


def _join_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


# ---- values -----------------------------------------------------------------------------------------------


@cache
def _make_loaders() -> tuple[Any, ...]:
    """Return PyYAML's loaders, made safe: libyaml's, if available, and then its own."""
    fast = [yaml.CSafeLoader] if yaml.__with_libyaml__ else []
    return tuple(type("Loader", (_Careful, kind), {}) for kind in (*fast, yaml.SafeLoader))


class _Careful:
    """Turn anything that a constructor trips over into a YAML error with its place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        shown = one_line(node.value, 40) if isinstance(node, yaml.ScalarNode) else ""
        if kind == "timestamp":
            # No field is a date, and JSON journals could not hold one
            raise _refuse_node(node, _("{value} is a date", value=shown), _("Put it in quotes."))
        if kind not in _KINDS:
            raise _refuse_node(
                node, _("the tag !{kind} is not supported", kind=one_line(kind, 40).lstrip("!"))
            )
        if isinstance(node, yaml.ScalarNode) and kind != "str" and len(node.value) > LONGEST_NUMBER:
            raise _refuse_node(node, _("a number of {count:,} characters", count=len(node.value)))
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except yaml.YAMLError:
            raise
        except Exception:  # a tag that does not fit its value: KeyError, ValueError, OverflowError, ...
            raise _refuse_node(
                node, _("{value!r} is not a valid {kind}", value=shown, kind=one_line(kind, 40))
            ) from None


def _refuse_node(node: yaml.Node, problem: str, hint: str = "") -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark, hint)


def _index_lines(node: yaml.Node, prefix: str, lines: dict[str, int]) -> None:
    """Record the line of every path; refuse duplicate keys, also inside lists."""
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _index_lines(item, f"{prefix}{place}.", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # constructing the value reports it
        path = f"{prefix}{key.value}"
        if path in lines:
            raise BadYaml(
                _("duplicate key {path}", path=one_line(path, 80)),
                key.start_mark.line + 1,
                path,
                _("It is also on line {line}: merge the two.", line=lines[path]),
                valid=True,
            )
        lines[path] = key.start_mark.line + 1
        _index_lines(value, f"{path}.", lines)
