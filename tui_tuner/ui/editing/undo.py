"""What was changed in a draft, step by step: to take back, and to do again.

A step is the draft before and after it. What is typed into one field without leaving it is one step. Steps
are kept while the program runs, the last `MOST` of them; states share what did not change between them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.locales import _, _n
from tui_tuner.text import listed, one_line

MOST = 1000  # steps that can be taken back: more than anybody counts, and a few MB of memory
_NAMED = 3  # fields of a step that are named


@dataclass(frozen=True)
class State:
    """A draft at one time.

    Args:
        draft: Which draft it was (a `kept.Draft`): beginning from something else makes another.
        begun: What that draft began with.
    """

    draft: Any
    values: dict[str, Any]
    texts: dict[str, str]
    name: str
    file: str
    yaml: str
    begun: Any

    def same(self, other: State) -> bool:
        """Whether nothing that one could take back lies between the two."""
        return (
            self.draft is other.draft
            and self.texts == other.texts
            and self.yaml == other.yaml
            and _alike(self.values, other.values)
        )


@dataclass(frozen=True)
class Step:
    """One change.

    Args:
        words: What it was, where a list of fields would not say it: a preset, an edit as YAML.
        typed: The field that it was typed into, letter by letter; else empty.
    """

    before: State
    after: State
    words: str = ""
    typed: str = ""

    @property
    def fields(self) -> list[str]:
        """The fields that it changed, by their dotted names."""
        return changed_fields(self.before, self.after)


@dataclass
class History:
    """The steps of a draft, and where in them one is."""

    now: State
    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    _entered: str = ""  # the field whose next letter begins a step of its own

    def enter(self, path: str) -> None:
        """The focus came into a field: what is typed into it is a step of its own.

        What was typed into the field before may still be on its way here.
        """
        self._entered = path

    def note(self, state: State, words: str = "", typed: str = "") -> None:
        """The draft may have changed."""
        if state.same(self.now):
            return
        last = self.done[-1] if self.done else None
        goes_on = bool(typed) and self._entered != typed and not self.undone
        if goes_on and last is not None and last.typed == typed:
            self.done[-1] = Step(last.before, state, last.words, typed)
            if state.same(last.before):  # typed, and deleted again
                self.done.pop()
        else:
            self.done.append(Step(self.now, state, words, typed))
            del self.done[:-MOST]
        if self._entered == typed:
            self._entered = ""
        self.undone.clear()
        self.now = state

    def undo(self) -> Step | None:
        """The step that is taken back; None where there is none."""
        return self._move(self.done, self.undone, back=True)

    def redo(self) -> Step | None:
        """The step that is done again; None where there is none."""
        return self._move(self.undone, self.done, back=False)

    def _move(self, source: list[Step], target: list[Step], back: bool) -> Step | None:
        if not source:
            return None
        step = source.pop()
        target.append(step)
        self.now = step.before if back else step.after
        self._entered = step.typed
        return step


def snapshot(values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of values that shares with an earlier one the sections that are as they were."""
    return {
        key: before[key] if key in before and _alike(before[key], value) else copy.deepcopy(value)
        for key, value in values.items()
    }


def changed_fields(before: State, after: State) -> list[str]:
    """The fields in which two states differ, in the order of the form."""
    from tui_tuner.ui.form import given, options, unknown, value_of

    names = [
        path
        for path, option in options().items()
        if not _alike(value_of(before.values, option), value_of(after.values, option))
        or before.texts.get(path) != after.texts.get(path)
    ]
    strange = dict.fromkeys([*unknown(before.values), *unknown(after.values)])
    return names + [path for path in strange if given(before.values, path) != given(after.values, path)]


def words_of_step(step: Step, back: bool) -> str:
    """What was taken back, or done again, in a few words."""
    fields = step.fields
    if step.words:
        what = _n(
            "{what} ({n} setting)", "{what} ({n} settings)", len(fields), what=step.words, n=len(fields)
        )
    elif len(fields) == 1:
        state = step.before if back else step.after
        what = _("{field} is {value}", field=one_line(fields[0], 60), value=_shown(state, fields[0]))
    elif not fields:
        what = _("comments of the YAML text")
    else:
        what = listed(_first(fields))
    return _("Undone: {what}", what=what) if back else _("Redone: {what}", what=what)


def _first(fields: list[str]) -> list[str]:
    named = [one_line(path, 60) for path in fields[:_NAMED]]
    more = len(fields) - len(named)
    return [*named, _n("{n} more", "{n} more", more, n=more)] if more else named


def _shown(state: State, path: str) -> str:
    from tui_tuner.ui.form import given, options, show, value_of

    if path in state.texts:
        return one_line(state.texts[path], 40)
    value = value_of(state.values, options()[path]) if path in options() else given(state.values, path)
    return one_line(show(value), 40) or _("empty")


def _alike(one: Any, other: Any) -> bool:
    """Whether two values mean the same."""
    from tui_tuner.config.writing.flat import same_value  # what it imports is not needed before a change

    return same_value(one, other)
