"""Drafts of settings that were not started yet, each in a small file, so that none is lost.

A draft is written shortly after each change, in a separate thread and atomically. Every workbench writes its
own files, so two that are open do not overwrite each other's. Nothing heavy is imported before the first
change.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.editing.draft_files import (
    OF_TEXT,
    Draft,
    find_draft_path,
    find_draft_text_folder,
    find_drafts_folder,
    is_draft_owner_alive,
    make_draft_name,
    read_drafts,
    remove_draft,
    summarise_draft,
    write_draft_atomically,
)
from tui_tuner.ui.editing.undo import DraftState, UndoHistory, UndoStep, copy_changed_sections

MOST = 9  # drafts that are kept; the home screen lists them all
REST = 0.4  # seconds without a change before a draft is written
Essence = tuple[dict[str, Any], dict[str, str], str, str]
_NOTHING: Essence = ({}, {}, "", "")


class DraftKeeper:
    """The draft that is being edited, and its file.

    Args:
        values: The values it starts with.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.draft = Draft()
        self.trouble = ""  # why the last write failed
        self._told = True  # whether that was reported
        self._begun: Essence = _NOTHING
        self._wake = threading.Condition()
        self._waiting: tuple[str, str] | None = None  # the text to write, and the draft's name
        self._due = 0.0
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._histories: dict[str, UndoHistory] = {}  # of other drafts of this session, by their names
        self.history = UndoHistory(self._take_state())
        self.begin_draft(values or {})

    def begin_draft(self, values: Mapping[str, Any], name: str = "", **more: Any) -> None:
        """Start editing other values. The previous draft stays among the drafts.

        Args:
            more: Other fields of the draft, such as its `file`.
        """
        self._put_aside()
        self._replace_draft(values, name, **more)
        self.history = UndoHistory(self._take_state())

    def begin_again(self, values: Mapping[str, Any], name: str, words: str, **more: Any) -> None:
        """Replace the values as one step of the current draft, which can be undone.

        Args:
            words: The name of the step.
        """
        self.flush_draft()
        self._replace_draft(values, name, **more)
        self.history.note_state(self._take_state(), words)

    def _replace_draft(self, values: Mapping[str, Any], name: str, **more: Any) -> None:
        self.draft = Draft(copy.deepcopy(dict(values)), name=name, **more)
        self._begun = _find_essence(self.draft)

    def keep_opened(self) -> None:
        """Keep the initial values as a draft, although nothing has changed yet."""
        self._begun = _NOTHING
        self.history.now = self._take_state()
        self.note_change()

    def resume_draft(self, draft: Draft) -> None:
        """Resume a saved draft under a new file name, as another workbench may have it open."""
        self._put_aside()
        kept, draft.id = draft.id, ""
        known = self._histories.pop(kept, None)
        if known is not None:  # of this session: it can still be undone
            section, field_at, draft = draft.section, draft.at, known.now.draft
            draft.id, draft.section, draft.at = "", section, field_at
        # Relative paths in the draft were meant from the folder in which it was written.
        elif draft.folder and draft.folder != os.getcwd():
            from tui_tuner.config.paths import resolve_config_paths

            resolve_config_paths(draft.values, Path(draft.folder))
        self.draft = draft
        self._begun = _NOTHING
        if not self._owned_by_another(kept):
            draft.id = make_draft_name()
            with contextlib.suppress(OSError):  # if it was deleted, it is written again
                os.replace(find_draft_path(kept), find_draft_path(draft.id))
        self.history = known or UndoHistory(self._take_state())
        if draft.id and find_draft_text_folder(kept).is_dir():  # its text is part of the draft by now
            self.note_change()
            self.flush_draft()
            if not self.trouble:
                # Only after the new file is safely written.
                remove_draft(kept)

    def keep_text(self, text: str) -> None:
        """Keep a text that has mistakes or could not be checked; `^e` opens it again."""
        self.draft.unread = text
        self.note_change()

    def folder_for_text(self) -> Path:
        """Create a folder for the draft's text while an editor has it open.

        If this process is killed meanwhile, `read_drafts` finds the text there.

        Raises:
            OSError: the folder cannot be created.
        """
        self.flush_draft()
        self._stamp_draft()
        find_drafts_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = find_draft_text_folder(self.draft.id or make_draft_name())
        write_draft_atomically(folder / OF_TEXT, self.draft.dump_text())
        return folder

    def note_saved(self) -> None:
        """Note that the draft was saved to a user's file, which is not a step to undo."""
        self.history.now = self._take_state()
        self.note_change()

    def _put_aside(self) -> None:
        """Write the current draft and remember its undo history."""
        self.flush_draft()
        if self.draft.id:
            self._histories[self.draft.id] = self.history
            for name in tuple(self._histories)[:-MOST]:
                del self._histories[name]

    # Undo

    def undo(self) -> UndoStep | None:
        """Undo the last change and return it; None if there is none."""
        step = self.history.undo()
        if step is not None:
            self._restore_state(step.before)
        return step

    def redo(self) -> UndoStep | None:
        """Redo the last undone change and return it; None if there is none."""
        step = self.history.redo()
        if step is not None:
            self._restore_state(step.after)
        return step

    def _restore_state(self, state: DraftState) -> None:
        # The step replaced the whole draft by another one; the file of the one that is left must go.
        if state.draft is not self.draft:
            self.flush_draft()
            remove_draft(self.draft.id)
            self.draft.id = ""
            self.draft = state.draft
        draft = self.draft
        draft.values, draft.texts = copy.deepcopy(state.values), dict(state.texts)
        draft.name, draft.file, draft.yaml = state.name, state.file, state.yaml
        self._begun = state.begun
        self.note_change()

    def _take_state(self) -> DraftState:
        draft, history = self.draft, getattr(self, "history", None)
        # Parts that did not change are shared with the last state, so that each letter costs no full copy.
        values = copy_changed_sections(draft.values, history.now.values if history is not None else {})
        return DraftState(draft, values, dict(draft.texts), draft.name, draft.file, draft.yaml, self._begun)

    @property
    def is_changed(self) -> bool:
        """True if the draft differs from the values it started with."""
        return _find_essence(self.draft) != self._begun

    def note_change(self, words: str = "", typed: str = "") -> None:
        """Note a change: the draft is written when no other change follows for a moment.

        Args:
            words: A name for the change, if the names of the changed fields are not enough.
            typed: The field in which the user is typing.
        """
        draft = self.draft
        self.history.note_state(self._take_state(), words, typed)
        if not self.is_changed:
            if draft.id:
                self._hand_over("", draft.id)  # back at the start: delete the file
            return
        draft.id = draft.id or make_draft_name()
        self._stamp_draft()
        self._hand_over(draft.dump_text(), draft.id)

    def _stamp_draft(self) -> None:
        self.draft.saved = time.time()
        self.draft.about = summarise_draft(self.draft.values)
        self.draft.folder = os.getcwd()

    def discard_draft(self, draft: Draft) -> None:
        """Delete a draft, and clear the form if it is the current one."""
        self.flush_draft()
        remove_draft(draft.id)
        # Flushed first: the writing thread would otherwise bring the file back.
        self._histories.pop(draft.id, None)
        if draft.id == self.draft.id:
            self.begin_draft({})

    def note_run_started(self) -> None:
        """Delete the draft after a run was started from it: the run folder has its values."""
        self.flush_draft()
        if self.draft.id:
            remove_draft(self.draft.id)
            self.draft.id = ""
        self._begun = _find_essence(self.draft)

    def flush_draft(self) -> None:
        """Write a pending change now."""
        # Held during the write, so that a caller who flushes also waits for the thread's write.
        with self._writing:
            with self._wake:
                waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._write_draft(*waiting)

    def new_trouble(self) -> str:
        """Return a warning if drafts cannot be saved; empty after it was returned once."""
        if self._told or not self.trouble:
            return ""
        self._told = True
        return _(
            "The draft cannot be saved: {folder}: {problem}. It is kept until the workbench closes; press ^s "
            "in the settings to save it elsewhere.",
            folder=one_line(find_drafts_folder()),
            problem=one_line(self.trouble, 120),
        )

    def _hand_over(self, text: str, name: str) -> None:
        with self._wake:
            self._waiting = (text, name)
            self._due = time.monotonic() + REST
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._write_when_due, name="drafts", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _write_when_due(self) -> None:
        while True:
            with self._wake:
                while self._waiting is None:
                    # The thread ends after a minute without work; the next change starts another.
                    if not self._wake.wait(60):
                        self._thread = None
                        return
                rest = self._due - time.monotonic()
                if rest > 0:
                    self._wake.wait(rest)
                    continue
            self.flush_draft()

    def _write_draft(self, text: str, name: str) -> None:
        if not text:
            remove_draft(name)
            return
        try:
            write_draft_atomically(find_draft_path(name), text)
            self.trouble = ""
        except OSError as error:  # not fatal: the draft is still in memory
            self._told = self._told and bool(self.trouble)  # warn once until a write succeeds
            self.trouble = error.strerror or str(error)
            return
        for old in read_drafts()[MOST:]:
            if not self._owned_by_another(old.id):
                remove_draft(old.id)

    @staticmethod
    def _owned_by_another(name: str) -> bool:
        """Return whether another running process has this draft open."""
        return is_draft_owner_alive(name) and name.partition("-")[0] != str(os.getpid())


def _find_essence(draft: Draft) -> Essence:
    """Return what makes two drafts differ: non-default values, and texts that are not values."""
    # The usual case when the workbench opens; importing the form would slow its start.
    if not draft.values and not draft.texts and not draft.yaml and not draft.unread:
        return _NOTHING
    from tui_tuner.ui.form_values import list_differing_values

    return copy.deepcopy(list_differing_values(draft.values)), dict(draft.texts), draft.yaml, draft.unread
