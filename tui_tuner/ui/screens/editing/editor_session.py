"""Editing a text in an editor: write it to a private file, wait for the editor, read it back."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from textual.app import App

from tui_tuner.config.load import MAX_CONFIG_BYTES
from tui_tuner.locales import _
from tui_tuner.runs.private_files import open_private
from tui_tuner.text import one_line
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.editing.draft_files import TEXT
from tui_tuner.ui.editing.external_editor import EditorCommand, edit_file_externally, find_editor
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.editing.yaml_editor import YamlEditor


async def edit_draft_text(
    app: App[Any], text: str, line: int, say: Callable[..., None], drafts: DraftKeeper
) -> str | None:
    """Let the user edit a text, in their editor or in the built-in one; None if it is to be discarded.

    Args:
        line: The line to put the cursor on, from 1; 0 for the start.
        say: Shows a sentence as a notice.
        drafts: Keeps the text if the program ends in the meantime.
    """
    editor = find_editor()
    if editor is not None and editor.trouble:
        say(editor.trouble, "warning", 10)
    while editor is not None and not editor.trouble and _can_lend_terminal(app):
        after, trouble = await _edit_outside(app, editor, text, line, drafts)
        if not trouble:
            return after
        answer = await _ask_about_trouble(app, trouble, after != text)
        if answer == "take":
            return after
        if answer is None:
            return None
        text = after
        if answer == "here":
            break
    return await app.push_screen_wait(YamlEditor(text, line))


def _can_lend_terminal(app: App[Any]) -> bool:
    driver = app._driver
    # Only a driver with a terminal of its own can lend it; those of tests and of web pages cannot.
    return driver is not None and driver.can_suspend and hasattr(driver, "output")


async def _edit_outside(
    app: App[Any], editor: EditorCommand, text: str, line: int, drafts: DraftKeeper
) -> tuple[str, str]:
    """Return the text that the editor left, and a reason to ask about it first (empty if there is none)."""
    with _write_private_file(text, drafts) as path:
        try:
            trouble = await edit_file_externally(app, editor.at_line(line), path)
        except OSError as error:
            name = one_line(editor.words[0], 60)
            return text, _("{editor} cannot be started: {problem}.", editor=name, problem=error.strerror)
        except BaseException:
            # The screen closes while the editor is open (a signal, a lost terminal): what it saved so far
            # must not be lost.
            after, _trouble = _read_back(path, text)
            if after != text:
                drafts.keep_text(after)
            raise
        after, odd = _read_back(path, text)
        return after, odd or trouble


async def _ask_about_trouble(app: App[Any], trouble: str, changed: bool) -> str | None:
    """Ask what to do with the text of an editor that failed."""
    answers = [("again", _("Edit again"), ""), ("here", _("Edit it here, without that program"), "")]
    if changed:
        answers.insert(0, ("take", _("Use the text it wrote"), _("It is checked first, and can be undone.")))
    answers.append(("", _("Discard it; the settings stay as they were"), ""))
    question = make_safe_block(_("{problem} Nothing was changed yet.", problem=trouble))
    answer = await app.push_screen_wait(ChoiceDialog(_("Editor"), question, answers))
    return answer or None


@contextlib.contextmanager
def _write_private_file(text: str, drafts: DraftKeeper) -> Iterator[Path]:
    """Give a text in a private file for a while.

    It is next to the drafts, where the next start finds it if this process is killed.
    """
    try:
        folder = drafts.folder_for_text()
    except OSError:  # without that folder, a killed edit is lost
        folder = Path(tempfile.mkdtemp(prefix="tui-tuner-"))
    try:
        path = folder / TEXT
        # O_EXCL: nobody else can have put a file or a link there before.
        handle = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_back(path: Path, before: str) -> tuple[str, str]:
    """Return the text of a file, and the problem with it; on a problem maybe the text of before."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return before, _("The file it wrote is larger than 1 MiB, too large for a config.")
        raw = path.read_bytes()
    except OSError as error:
        return before, _("The file it wrote cannot be read: {problem}.", problem=error.strerror)
    try:
        # Editors on Windows add a byte order mark and CRLF line ends, which are not a change that the user
        # made.
        return raw.decode("utf-8-sig").replace("\r\n", "\n"), ""
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), _("The file it wrote is not UTF-8 text.")
