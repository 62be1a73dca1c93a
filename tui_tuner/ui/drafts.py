"""What was typed into the settings and not started yet: a small file each, so that nothing ends it.

A draft is written a moment after each change, in a thread of its own, as a whole or not at all. Every
workbench writes files of its own, so two that are open do not spoil each other's. Nothing heavy is imported
before something is typed.
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
from tui_tuner.ui.editing.kept import (
    OF_TEXT,
    Draft,
    drafts_folder,
    folder_of_text,
    in_short,
    is_alive,
    own_name,
    path_of,
    read_drafts,
    remove_draft,
    write_whole,
)
from tui_tuner.ui.editing.undo import History, State, Step, snapshot

MOST = 9  # are kept; the home screen lists them all
REST = 0.4  # seconds without a change before it is written
Essence = tuple[dict[str, Any], dict[str, str], str, str]
_NOTHING: Essence = ({}, {}, "", "")


class DraftKeeper:
    """The draft that is being edited, and its way to the disk.

    Args:
        values: What it begins with.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.draft = Draft()
        self.trouble = ""  # why the last one could not be kept
        self._told = True  # whether that was said
        self._begun: Essence = _NOTHING
        self._wake = threading.Condition()
        self._waiting: tuple[str, str] | None = None  # what is to be written, and as which draft
        self._due = 0.0
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._histories: dict[str, History] = {}  # of other drafts of this session, by their names
        self.history = History(self._state())
        self.begin(values or {})

    def begin(self, values: Mapping[str, Any], name: str = "", **more: Any) -> None:
        """Edit something else from here on. What was edited before stays among the drafts.

        Args:
            more: Other fields of the draft, such as its `file`.
        """
        self._put_aside()
        self._begin(values, name, **more)
        self.history = History(self._state())

    def begin_again(self, values: Mapping[str, Any], name: str, words: str, **more: Any) -> None:
        """The same as one step of what is edited now: it can be taken back.

        Args:
            words: What the step is called.
        """
        self.flush()
        self._begin(values, name, **more)
        self.history.note(self._state(), words)

    def _begin(self, values: Mapping[str, Any], name: str, **more: Any) -> None:
        self.draft = Draft(copy.deepcopy(dict(values)), name=name, **more)
        self._begun = _essence(self.draft)

    def opened(self) -> None:
        """What was begun with is a draft to keep, though nothing in it has changed yet."""
        self._begun = _NOTHING
        self.history.now = self._state()
        self.touch()

    def go_on(self, draft: Draft) -> None:
        """Edit a draft that was kept; in a file of its own, for another workbench may have it open."""
        self._put_aside()
        kept, draft.id = draft.id, ""
        known = self._histories.pop(kept, None)
        if known is not None:  # of this session: what was done to it can still be undone
            section, field_at, draft = draft.section, draft.at, known.now.draft
            draft.id, draft.section, draft.at = "", section, field_at
        elif draft.folder and draft.folder != os.getcwd():
            from tui_tuner.config.paths import take_from_beside

            take_from_beside(draft.values, Path(draft.folder))
        self.draft = draft
        self._begun = _NOTHING
        if not self._owned_by_another(kept):
            draft.id = own_name()
            with contextlib.suppress(OSError):  # if it is gone, it is written anew
                os.replace(path_of(kept), path_of(draft.id))
        self.history = known or History(self._state())
        if draft.id and folder_of_text(kept).is_dir():  # its text is in the draft by now
            self.touch()
            self.flush()
            if not self.trouble:
                remove_draft(kept)

    def keep_text(self, text: str) -> None:
        """Keep a text with mistakes, or one that could not be looked at: `^e` goes on with it."""
        self.draft.unread = text
        self.touch()

    def folder_for_text(self) -> Path:
        """A new folder for a text of this draft, `TEXT`, while an editor has it.

        If this process is killed meanwhile, `read_drafts` finds it there.

        Raises:
            OSError: it cannot be made.
        """
        self.flush()
        self._stamp()
        drafts_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = folder_of_text(self.draft.id or own_name())
        write_whole(folder / OF_TEXT, self.draft.written())
        return folder

    def saved(self) -> None:
        """The draft was written to a file of the user's: that is no change that one would undo."""
        self.history.now = self._state()
        self.touch()

    def _put_aside(self) -> None:
        """Write what is edited, and remember what can be undone in it."""
        self.flush()
        if self.draft.id:
            self._histories[self.draft.id] = self.history
            for name in tuple(self._histories)[:-MOST]:
                del self._histories[name]

    # Undo

    def undo(self) -> Step | None:
        """Take the last change back; None where there is none."""
        step = self.history.undo()
        if step is not None:
            self._restore(step.before)
        return step

    def redo(self) -> Step | None:
        """Do again what was taken back last; None where nothing was."""
        step = self.history.redo()
        if step is not None:
            self._restore(step.after)
        return step

    def _restore(self, state: State) -> None:
        if state.draft is not self.draft:
            self.flush()
            remove_draft(self.draft.id)
            self.draft.id = ""
            self.draft = state.draft
        draft = self.draft
        draft.values, draft.texts = copy.deepcopy(state.values), dict(state.texts)
        draft.name, draft.file, draft.yaml = state.name, state.file, state.yaml
        self._begun = state.begun
        self.touch()

    def _state(self) -> State:
        draft, history = self.draft, getattr(self, "history", None)
        values = snapshot(draft.values, history.now.values if history is not None else {})
        return State(draft, values, dict(draft.texts), draft.name, draft.file, draft.yaml, self._begun)

    @property
    def changed(self) -> bool:
        """Whether there is anything in the draft that it did not begin with."""
        return _essence(self.draft) != self._begun

    def touch(self, words: str = "", typed: str = "") -> None:
        """The draft has changed: keep it, once no other change comes for a moment.

        Args:
            words: What was done, where the names of the changed fields would not say it.
            typed: The field whose text was changed by a letter.
        """
        draft = self.draft
        self.history.note(self._state(), words, typed)
        if not self.changed:
            if draft.id:
                self._hand_over("", draft.id)  # all is as it was: nothing to keep
            return
        draft.id = draft.id or own_name()
        self._stamp()
        self._hand_over(draft.written(), draft.id)

    def _stamp(self) -> None:
        self.draft.saved = time.time()
        self.draft.about = in_short(self.draft.values)
        self.draft.folder = os.getcwd()

    def discard(self, draft: Draft) -> None:
        """Forget a draft, on disk and, if it is the one that is edited, here."""
        self.flush()
        remove_draft(draft.id)
        self._histories.pop(draft.id, None)
        if draft.id == self.draft.id:
            self.begin({})

    def used(self) -> None:
        """A run was started from the draft: it is kept there from now on."""
        self.flush()
        if self.draft.id:
            remove_draft(self.draft.id)
            self.draft.id = ""
        self._begun = _essence(self.draft)

    def flush(self) -> None:
        """Write what waits, now."""
        with self._writing:
            with self._wake:
                waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._write(*waiting)

    def new_trouble(self) -> str:
        """What is to be said of a draft that cannot be kept; empty once it was said."""
        if self._told or not self.trouble:
            return ""
        self._told = True
        return _(
            "What you set cannot be kept: {folder}: {problem}. It lasts until the workbench closes; ^s in "
            "the settings saves it elsewhere.",
            folder=one_line(drafts_folder()),
            problem=one_line(self.trouble, 120),
        )

    def _hand_over(self, text: str, name: str) -> None:
        with self._wake:
            self._waiting = (text, name)
            self._due = time.monotonic() + REST
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._keep, name="drafts", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _keep(self) -> None:
        while True:
            with self._wake:
                while self._waiting is None:
                    if not self._wake.wait(60):
                        self._thread = None
                        return
                rest = self._due - time.monotonic()
                if rest > 0:
                    self._wake.wait(rest)
                    continue
            self.flush()

    def _write(self, text: str, name: str) -> None:
        if not text:
            remove_draft(name)
            return
        try:
            write_whole(path_of(name), text)
            self.trouble = ""
        except OSError as error:  # it costs the memory, and no more
            self._told = self._told and bool(self.trouble)  # one sentence until it has gone well again
            self.trouble = error.strerror or str(error)
            return
        for old in read_drafts()[MOST:]:
            if not self._owned_by_another(old.id):
                remove_draft(old.id)

    @staticmethod
    def _owned_by_another(name: str) -> bool:
        """Whether another process that is alive has this draft open."""
        return is_alive(name) and name.partition("-")[0] != str(os.getpid())


def _essence(draft: Draft) -> Essence:
    """What makes two drafts differ: their values but for defaults, and texts that are no values."""
    if not draft.values and not draft.texts and not draft.yaml and not draft.unread:
        return _NOTHING  # without importing the form: so it is when the workbench opens
    from tui_tuner.ui.form import differing

    return copy.deepcopy(differing(draft.values)), dict(draft.texts), draft.yaml, draft.unread
