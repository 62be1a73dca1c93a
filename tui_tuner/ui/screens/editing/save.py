"""Keeping settings as YAML: where, and whether over what is there."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from tui_tuner.config.advice import words_of
from tui_tuner.config.load import read_text
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.locales import _
from tui_tuner.text import listed, one_line
from tui_tuner.ui.editing.kept import Draft, digest
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath, Confirm

_NAME = "my-run.yaml"


def ask_where_to_save(screen: TunerScreen, name: str = "") -> None:
    """Ask where, and write the file.

    Args:
        name: What is offered; else the file that the draft was opened from.
    """

    def answered(name: str | None) -> None:
        if not name:
            return
        path = Path(os.path.expanduser(name))
        if path.is_dir():
            path = path / _NAME
        if not os.path.lexists(path):
            _write(screen, path)
            return
        question = _("{path} exists. Overwrite it?", path=one_line(path))
        if _has_changed(path, screen.tuner.drafts.draft):
            question = _(
                "{path} has changed since it was opened or saved here. Overwrite what it holds now?",
                path=one_line(path),
            )
        dialog = Confirm(_("Save"), question, _("Overwrite it"), _("Keep it"))
        screen.app.push_screen(dialog, lambda yes: _write(screen, path) if yes else None)

    offered = name or _short(screen.tuner.drafts.draft.file) or _NAME
    screen.app.push_screen(AskPath(_("Save"), _("Save these settings as YAML to"), offered), answered)


def _short(file: str) -> str:
    """A path as one would type it here."""
    with contextlib.suppress(ValueError):
        return str(Path(file).relative_to(Path.cwd())) if file else ""
    return file


def _has_changed(path: Path, draft: Draft) -> bool:
    """Whether a file holds another text than the one that the draft knows of."""
    known = draft.known.get(str(path.absolute()))
    try:
        return known is not None and digest(read_text(path)) != known
    except ConfigError:  # no config by now
        return True


def _write(screen: TunerScreen, path: Path) -> None:
    from tui_tuner.runs.secrets import refuse_secrets
    from tui_tuner.ui.editing.text import for_file

    draft, tuner = screen.tuner.drafts.draft, screen.tuner
    written = for_file(draft, path)
    try:
        refuse_secrets(written.text, "config")
        write_whole(path, written.text)
    except TunerError as error:
        tuner.say(words_of(error), "error", 12)
        return
    except OSError as error:
        words = _(
            "{path} cannot be written: {problem}. Choose another place.",
            path=one_line(path),
            problem=error.strerror or type(error).__name__,
        )
        tuner.say(words, "error", 10)
        ask_where_to_save(screen, one_line(path))
        return
    draft.file, draft.yaml = str(path.absolute()), written.text
    draft.known[draft.file] = digest(written.text)
    tuner.drafts.saved()
    _note(path)
    said = [_("Saved. Run it with: tui-tuner run {path}", path=shlex.quote(one_line(path)))]
    if written.unread:
        names = listed([one_line(name, 60) for name in written.unread])
        said.append(_("Kept as comments, because they have no effect here: {names}.", names=names))
    if written.lost:
        said.append(_("The comments of the text could not be kept."))
    tuner.say(" ".join(said), timeout=10)


def _note(path: Path) -> None:
    import threading

    from tui_tuner.ui.recent import note_recent

    threading.Thread(target=note_recent, args=("config", str(path.absolute())), daemon=True).start()


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all; one that is there keeps its permissions, a link leads on.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OSError(0, _("it is not a regular file"), str(path))
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(13, os.strerror(13), str(path))
    other = path.with_name(f".{path.name[:60]}-{os.urandom(6).hex()}")
    handle = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            if found is not None:
                with contextlib.suppress(OSError):  # of another user: it becomes ours
                    os.fchown(handle, found.st_uid, found.st_gid)
                os.fchmod(handle, stat.S_IMODE(found.st_mode))
            os.fsync(handle)
        os.replace(other, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise
