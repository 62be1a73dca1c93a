"""Saving settings as YAML: ask for a path, ask before overwriting, write the file whole."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.load import read_config_text
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.locales import _
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.ui.editing.draft_files import Draft, hash_draft_text
from tui_tuner.ui.screens.dialogs import ConfirmDialog, PathDialog
from tui_tuner.ui.screens.screen_base import TunerScreen

_NAME = "my-run.yaml"


def ask_where_to_save(screen: TunerScreen, name: str = "") -> None:
    """Ask for a path, and write the settings there.

    Args:
        name: The suggested path; by default the file that the draft was opened from.
    """

    def save_to_path(name: str | None) -> None:
        if not name:
            return
        path = Path(os.path.expanduser(name))
        if path.is_dir():
            path = path / _NAME
        # `lexists`: a broken symbolic link is there, too, and writing would create its target somewhere else.
        if not os.path.lexists(path):
            _write_settings(screen, path)
            return
        question = _("{path} exists. Overwrite it?", path=one_line(path))
        if _has_changed(path, screen.tuner_app.drafts.draft):
            question = _(
                "{path} has changed since it was opened or saved here. Overwrite the changes?",
                path=one_line(path),
            )
        dialog = ConfirmDialog(_("Save"), question, _("Overwrite it"), _("Keep it"))
        screen.app.push_screen(dialog, lambda yes: _write_settings(screen, path) if yes else None)

    offered = name or _shorten_path(screen.tuner_app.drafts.draft.file) or _NAME
    screen.app.push_screen(PathDialog(_("Save"), _("Save these settings as YAML to"), offered), save_to_path)


def _shorten_path(file: str) -> str:
    """Return a path relative to the working folder if it is below it."""
    with contextlib.suppress(ValueError):
        return str(Path(file).relative_to(Path.cwd())) if file else ""
    return file


def _has_changed(path: Path, draft: Draft) -> bool:
    """Return whether a file has changed since the draft read or wrote it."""
    known = draft.known.get(str(path.absolute()))
    try:
        return known is not None and hash_draft_text(read_config_text(path)) != known
    except ConfigError:  # it is not a config any more, so it has changed
        return True


def _write_settings(screen: TunerScreen, path: Path) -> None:
    from tui_tuner.runs.secrets import refuse_secrets
    from tui_tuner.ui.editing.draft_text import write_draft_for_file

    draft, tuner = screen.tuner_app.drafts.draft, screen.tuner_app
    written = write_draft_for_file(draft, path)
    try:
        refuse_secrets(written.text, "config")
        write_whole_file(path, written.text)
    except TunerError as error:
        tuner.show_notice(format_error_words(error), "error", 12)
        return
    except OSError as error:
        words = _(
            "{path} cannot be written: {problem}. Choose another place.",
            path=one_line(path),
            problem=error.strerror or type(error).__name__,
        )
        tuner.show_notice(words, "error", 10)
        # Asked again with the path that was typed, as usually only a part of it is wrong.
        ask_where_to_save(screen, one_line(path))
        return
    draft.file, draft.yaml = str(path.absolute()), written.text
    draft.known[draft.file] = hash_draft_text(written.text)
    # Saving is not a change of the settings, so undo must not stop at it.
    tuner.drafts.note_saved()
    _note_recent(path)
    said = [_("Saved. Run it with: tui-tuner run {path}", path=shlex.quote(one_line(path)))]
    if written.unread:
        names = join_sentence_items([one_line(name, 60) for name in written.unread])
        said.append(_("Kept as comments, because they have no effect here: {names}.", names=names))
    if written.lost:
        said.append(_("The comments of the text could not be kept."))
    tuner.show_notice(" ".join(said), timeout=10)


def _note_recent(path: Path) -> None:
    import threading

    from tui_tuner.ui.recent_paths import note_recent_path

    # The list of recent files is on disk: a slow one must not hold the screen.
    threading.Thread(target=note_recent_path, args=("config", str(path.absolute())), daemon=True).start()


def write_whole_file(path: Path, text: str) -> None:
    """Write a file completely or not at all.

    An existing file keeps its permissions, and of a symbolic link the target is written.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    # Replacing a device or a pipe (`/dev/stdout`) by a file would break it for everyone.
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OSError(0, _("it is not a regular file"), str(path))
    # A rename needs rights on the folder only, and would replace a file that its owner made read-only.
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(13, os.strerror(13), str(path))
    # In the same folder, as a file can only be renamed within its file system.
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
            # Before the rename: after a power cut the name must not point to an empty file.
            os.fsync(handle)
        os.replace(other, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise
