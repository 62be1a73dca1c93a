"""The undo history of a draft.

A step holds the draft before and after it. Text typed into one field without leaving it is one step. The last
`MOST` steps are kept while the program runs; states share the parts that did not change.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.locales import _, _n
from tui_tuner.text import join_sentence_items, one_line

MOST = 1000  # steps that can be undone; they take a few MB of memory
_NAMED = 3  # fields of a step that are named in its description


@dataclass(frozen=True)
class DraftState:
    """A draft at one time.

    Args:
        draft: The draft (a `kept.Draft`); starting from another config makes another one.
        begun: The values that the draft started with.
    """

    draft: Any
    values: dict[str, Any]
    texts: dict[str, str]
    name: str
    file: str
    yaml: str
    begun: Any

    def is_same(self, other: DraftState) -> bool:
        """Return whether the two states differ in nothing that can be undone."""
        return (
            self.draft is other.draft
            and self.texts == other.texts
            and self.yaml == other.yaml
            and _is_same_value(self.values, other.values)
        )


@dataclass(frozen=True)
class UndoStep:
    """One change.

    Args:
        words: A description, if the list of fields is not enough: a preset, an edit as YAML.
        typed: The field in which it was typed, letter by letter; otherwise empty.
    """

    before: DraftState
    after: DraftState
    words: str = ""
    typed: str = ""

    @property
    def fields(self) -> list[str]:
        """The dotted names of the fields that it changed."""
        return list_changed_fields(self.before, self.after)


@dataclass
class UndoHistory:
    """The done and undone steps of a draft."""

    now: DraftState
    done: list[UndoStep] = field(default_factory=list)
    undone: list[UndoStep] = field(default_factory=list)
    _entered: str = ""  # the field whose next letter starts a new step

    def enter_field(self, path: str) -> None:
        """Note that a field got the focus: text typed into it is a new step.

        Text typed into the previous field may still arrive after this.
        """
        self._entered = path

    def note_state(self, state: DraftState, words: str = "", typed: str = "") -> None:
        """Add a step if the draft has changed."""
        if state.is_same(self.now):
            return
        last = self.done[-1] if self.done else None
        # After an undo, the next letter must not be merged into the step that is then last.
        goes_on = bool(typed) and self._entered != typed and not self.undone
        if goes_on and last is not None and last.typed == typed:
            self.done[-1] = UndoStep(last.before, state, last.words, typed)
            if state.is_same(last.before):  # typed, and deleted again
                self.done.pop()
        else:
            self.done.append(UndoStep(self.now, state, words, typed))
            del self.done[:-MOST]
        if self._entered == typed:
            self._entered = ""
        self.undone.clear()
        self.now = state

    def undo(self) -> UndoStep | None:
        """Undo the last step and return it; None if there is none."""
        return self._move_step(self.done, self.undone, back=True)

    def redo(self) -> UndoStep | None:
        """Redo the last undone step and return it; None if there is none."""
        return self._move_step(self.undone, self.done, back=False)

    def _move_step(self, source: list[UndoStep], target: list[UndoStep], back: bool) -> UndoStep | None:
        if not source:
            return None
        step = source.pop()
        target.append(step)
        self.now = step.before if back else step.after
        # Typing on in the field of this step is a new step, or undoing it again would take both.
        self._entered = step.typed
        return step


def copy_changed_sections(values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Copy values, but share sections that equal those of an earlier copy."""
    return {
        key: before[key] if key in before and _is_same_value(before[key], value) else copy.deepcopy(value)
        for key, value in values.items()
    }


def list_changed_fields(before: DraftState, after: DraftState) -> list[str]:
    """Return the fields in which two states differ, in the order of the form."""
    from tui_tuner.ui.form_values import find_given, get_option_value, list_options, list_unknown_keys

    names = [
        path
        for path, option in list_options().items()
        if not _is_same_value(get_option_value(before.values, option), get_option_value(after.values, option))
        or before.texts.get(path) != after.texts.get(path)
    ]
    # A dict and not a set: the order of the draft is kept.
    strange = dict.fromkeys([*list_unknown_keys(before.values), *list_unknown_keys(after.values)])
    return names + [
        path for path in strange if find_given(before.values, path) != find_given(after.values, path)
    ]


def describe_undo_step(step: UndoStep, back: bool) -> str:
    """Describe an undone or redone step in a few words."""
    fields = step.fields
    if step.words:
        what = _n(
            "{what} ({n} setting)", "{what} ({n} settings)", len(fields), what=step.words, n=len(fields)
        )
    elif len(fields) == 1:
        state = step.before if back else step.after
        what = _("{field} is {value}", field=one_line(fields[0], 60), value=_show_value(state, fields[0]))
    elif not fields:
        what = _("comments of the YAML text")
    else:
        what = join_sentence_items(_name_first(fields))
    return _("Undone: {what}", what=what) if back else _("Redone: {what}", what=what)


def _name_first(fields: list[str]) -> list[str]:
    named = [one_line(path, 60) for path in fields[:_NAMED]]
    more = len(fields) - len(named)
    return [*named, _n("{n} more", "{n} more", more, n=more)] if more else named


def _show_value(state: DraftState, path: str) -> str:
    from tui_tuner.ui.form_values import find_given, format_field_value, get_option_value, list_options

    if path in state.texts:
        return one_line(state.texts[path], 40)
    value = (
        get_option_value(state.values, list_options()[path])
        if path in list_options()
        else find_given(state.values, path)
    )
    return one_line(format_field_value(value), 40) or _("empty")


def _is_same_value(one: Any, other: Any) -> bool:
    """Return whether two values mean the same in YAML."""
    from tui_tuner.config.writing.flat import (
        are_values_equal,  # imported late: not needed before the first change
    )

    return are_values_equal(one, other)
