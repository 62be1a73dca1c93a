"""Reading of untrusted YAML: within bounds, and with line and key for every error.

A cheap first pass over the events of the parser counts the nodes of the text with its aliases expanded, so
that a text that would grow beyond a bound is refused before any values are made of it.
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
LONGEST_NUMBER = 1000  # characters of a value that YAML reads as a number or a date
_NAMES_ALL = 65_536  # characters; up to here, PyYAML's own parser may explain an error
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge", "value")
_COLLECTIONS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class BadYaml(Exception):
    """An error in a YAML text.

    Args:
        problem: A description, without a full stop.
        line: Its line, from 1; None if that is not known.
        path: The dotted path of its key, as far as it is known.
        hint: How to fix it.
        valid: Whether the text is YAML nonetheless.
    """

    def __init__(
        self, problem: str, line: int | None = None, path: str = "", hint: str = "", valid: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem, self.line, self.path, self.hint, self.valid = problem, line, path, hint, valid

    def describe_problem(self) -> str:
        """Return the problem as a sentence whose subject is the text."""
        said = _("{problem}.", problem=self.problem) if self.valid else ""
        return said or _("is not valid YAML: {problem}.", problem=self.problem)


def parse_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """Return the value of a YAML text (None if it is empty), and the line (from 1) of each dotted path.

    Raises:
        BadYaml: it is not valid YAML, is larger than allowed with its aliases expanded, or repeats a key.
    """
    try:
        return _parsed_by(_make_loaders()[0], text)
    except BadYaml as problem:
        if problem.valid or len(text) > _NAMES_ALL or len(_make_loaders()) == 1:
            raise
    return _parsed_by(_make_loaders()[1], text)  # its messages say more


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
            _index_lines(node, "", lines)  # before merge keys are resolved in the nodes
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
    """Turn PyYAML's error into ours, with its line and key."""
    if isinstance(error, yaml.reader.ReaderError):
        return _explain_character(error, text, keys)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    problem = one_line(getattr(error, "problem", None) or str(error))
    shown = _LINE_END.split(text)[line - 1 :][:1] if line else []
    key = re.match(r"\s*([\w.]+)\s*:", shown[0]) if shown else None  # if the parser has not seen a key yet
    hint = getattr(error, "note", None) or ""
    if not isinstance(error, yaml.constructor.ConstructorError):
        hint = find_yaml_hint(problem, shown[0] if shown else "")
    return BadYaml(problem, line, keys.find_near(line) or (key[1] if key else ""), hint)


def _explain_character(error: yaml.reader.ReaderError, text: str, keys: _Keys) -> BadYaml:
    """Describe a character that YAML does not allow."""
    found = error.character
    code = found if isinstance(found, int) else ord(found) if len(found) == 1 else 0
    at = text.find(chr(code))
    line = len(_LINE_END.findall(text[:at])) + 1 if at >= 0 else None
    what = _("it contains the control character {character}", character=f"U+{code:04X}")
    return BadYaml(what, line, keys.find_near(line))


def find_yaml_hint(problem: str, line: str) -> str:
    """Return a hint for a common mistake in YAML; empty for any other."""
    if "escape" in problem or "hexadecimal" in problem:
        return _(
            "In double quotes, a backslash begins an escape sequence: put a Windows path in single "
            "quotes, or use /."
        )
    if "\t" in line:
        return _("There is a tab in this line; YAML requires spaces.")
    if re.search(r"^[^#'\"]*:[^ \n].*:|: .*: ", line):
        return _("Text that contains a colon followed by a space needs quotes.")
    return ""


# ---- the first pass ---------------------------------------------------------------------------------------


@dataclass
class _Keys:
    """The dotted paths of the keys, in order of their lines."""

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
    """A list or mapping that is still open: its nodes so far, and the key whose value comes next."""

    anchor: str | None
    mapping: bool
    path: str
    nodes: int = 1
    items: int = 0
    key: str = ""


def _measure_events(events: Iterator[Any], keys: _Keys) -> None:
    """Walk the events of a text; refuse texts that are too large, and aliases that contain themselves."""
    stack: list[_Open] = []
    sizes: dict[str, int] = {}
    documents = total = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise BadYaml(_("it contains several documents"), line, hint=_("Keep only one, without ---."))
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
                    "the alias *{name} is inside the value that it refers to", name=one_line(event.anchor, 40)
                )
                raise BadYaml(what, line, path)
            # An alias counts as much as the value it repeats: a few lines of nested aliases can stand for
            # billions of values ("billion laughs").
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
    """Return the path of the node that begins, and record it in the open list or mapping."""
    if not stack:
        return ""
    top = stack[-1]
    place, top.items = top.items, top.items + 1
    if not top.mapping:
        return top.path
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
    """Return safe loaders: with libyaml if it is installed (several times faster), and PyYAML's own."""
    fast = [yaml.CSafeLoader] if yaml.__with_libyaml__ else []
    return tuple(type("Loader", (_Careful, kind), {}) for kind in (*fast, yaml.SafeLoader))


class _Careful:
    """A mixin that turns every failure of a constructor into a YAML error with its place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        shown = one_line(node.value, 40) if isinstance(node, yaml.ScalarNode) else ""
        if kind == "timestamp":
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
        except Exception:  # a tag that does not fit: KeyError, ValueError, AttributeError, OverflowError ...
            raise _refuse_node(
                node, _("{value!r} is not a valid {kind}", value=shown, kind=one_line(kind, 40))
            ) from None


def _refuse_node(node: yaml.Node, problem: str, hint: str = "") -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark, hint)


def _index_lines(node: yaml.Node, prefix: str, lines: dict[str, int]) -> None:
    """Record the line of every path; refuse duplicate keys, including those in lists."""
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _index_lines(item, f"{prefix}{place}.", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # constructing its value reports the error
        path = f"{prefix}{key.value}"
        if path in lines:
            raise BadYaml(
                _("duplicate key {path}", path=one_line(path, 80)),
                key.start_mark.line + 1,
                path,
                _("It is also on line {line}; merge the two.", line=lines[path]),
                valid=True,
            )
        lines[path] = key.start_mark.line + 1
        _index_lines(value, f"{path}.", lines)
