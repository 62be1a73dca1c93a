"""What was typed into the settings and not started yet: a small file each, so that nothing ends it.

A draft is written a moment after each change, in a thread of its own, as a whole or not at all. Every
workbench writes files of its own, so two that are open do not spoil each other's. Nothing heavy is imported
before something is typed.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.locales import _
from tui_tuner.runs.private import open_private
from tui_tuner.text import one_line
from tui_tuner.ui.editing.undo import History, State, Step, snapshot
from tui_tuner.ui.preferences import preferences_path

MOST = 9  # are kept; the home screen lists them all
REST = 0.4  # seconds without a change before it is written
LARGEST = 1 << 20  # bytes; a larger file is none of ours
_VERSION = 1
Essence = tuple[dict[str, Any], dict[str, str], str, str]
_NOTHING: Essence = ({}, {}, "", "")


@dataclass
class Draft:
    """Values of the form, as in a YAML config, and where one was.

    Args:
        id: The name of its file; empty for one that was not kept yet.
        texts: What stands in a field and is no value, by the field.
        name: What it began as: a preset, a file, or a run.
        file: The config file that it was opened from, which saving offers.
        yaml: Its values as YAML with the comments of whoever wrote them; empty where nobody did.
        known: The `digest` of each config file as it was last read or written for this draft.
        unread: A text that was edited as YAML and has mistakes, until it is taken or thrown away.
        section: The section that was open, and `at` the field that had the focus.
        folder: The working folder, which relative paths are to be seen from.
        about: For a list of drafts: its data, task and method.
        saved: Unix seconds.
    """

    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    id: str = ""
    name: str = ""
    file: str = ""
    yaml: str = ""
    known: dict[str, str] = field(default_factory=dict)
    unread: str = ""
    section: str = ""
    at: str = ""
    folder: str = ""
    about: tuple[str, ...] = ()
    saved: float = 0.0

    def written(self) -> str:
        """As its file has it, without secrets."""
        from tui_tuner.runs.secrets import scrubber

        held = {
            "version": _VERSION,
            "values": self.values,
            "texts": self.texts,
            "name": self.name,
            "section": self.section,
            "at": self.at,
            "folder": self.folder,
            "about": self.about,
            "saved": self.saved,
            "known": self.known,
        }
        texts = {"file": self.file, "yaml": self.yaml, "unread": self.unread}
        held |= {name: text for name, text in texts.items() if text}
        return scrubber().text(json.dumps(held, indent=1, default=str, ensure_ascii=False))


def digest(text: str) -> str:
    """What tells one text of a file from another."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def drafts_folder() -> Path:
    """Where they are."""
    return preferences_path().parent / "drafts"


def read_drafts() -> list[Draft]:
    """The drafts that are kept, newest first. What cannot be read is left alone and passed over."""
    found = []
    with contextlib.suppress(OSError):
        for path in drafts_folder().glob("*.json"):
            draft = read_draft(path)
            if draft is not None:
                found.append(draft)
    return sorted(found, key=lambda draft: -draft.saved)


def read_draft(path: Path) -> Draft | None:
    """A draft, whatever version wrote it. What this one does not know is kept: the form shows it."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        held = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        saved = float(held.get("saved") or path.stat().st_mtime)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    values, about = held.get("values"), held.get("about")
    if not isinstance(values, dict):
        return None
    return Draft(
        values=values,
        texts=_words(held.get("texts")),
        id=path.stem,
        name=str(held.get("name") or ""),
        file=str(held.get("file") or ""),
        yaml=str(held.get("yaml") or ""),
        known=_words(held.get("known")),
        unread=str(held.get("unread") or ""),
        section=str(held.get("section") or ""),
        at=str(held.get("at") or ""),
        folder=str(held.get("folder") or ""),
        about=tuple(map(str, about)) if isinstance(about, list) else (),
        saved=saved,
    )


def _words(held: Any) -> dict[str, str]:
    return {str(key): str(word) for key, word in held.items()} if isinstance(held, dict) else {}


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
            draft.id = _own_name()
            with contextlib.suppress(OSError):  # if it is gone, it is written anew
                os.replace(_path(kept), _path(draft.id))
        self.history = known or History(self._state())

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
        draft.id = draft.id or _own_name()
        draft.saved = time.time()
        draft.about = in_short(draft.values)
        draft.folder = os.getcwd()
        self._hand_over(draft.written(), draft.id)

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
            _write_whole(_path(name), text)
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
        pid = name.partition("-")[0]
        if not pid.isdigit() or int(pid) == os.getpid():
            return False
        try:
            os.kill(int(pid), 0)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
        return True


def remove_draft(name: str) -> None:
    """Forget a draft."""
    with contextlib.suppress(OSError):
        _path(name).unlink(missing_ok=True)


def _own_name() -> str:
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def _path(name: str) -> Path:
    return drafts_folder() / f"{name}.json"


def _essence(draft: Draft) -> Essence:
    """What makes two drafts differ: their values but for defaults, and texts that are no values."""
    if not draft.values and not draft.texts and not draft.yaml and not draft.unread:
        return _NOTHING  # without importing the form: so it is when the workbench opens
    from tui_tuner.ui.form import differing

    return copy.deepcopy(differing(draft.values)), dict(draft.texts), draft.yaml, draft.unread


def in_short(values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Data, task and method of a draft, in words of its own."""
    from tui_tuner.ui.form import at

    path = at(values, "data.path")
    if isinstance(path, list):
        path = path[0] if path else ""
    if isinstance(path, Mapping):
        path = path.get("path", "")
    name = os.path.basename(str(path).rstrip("/")) or str(path)
    return name, str(at(values, "task")), str(at(values, "method.kind"))


def _write_whole(path: Path, text: str) -> None:
    """Write a file that nobody else may read, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    other = path.with_suffix(".tmp")
    handle = open_private(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(handle, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(other, path)
