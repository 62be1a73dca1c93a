"""A text on its way through an editor: written to a private file, edited, read back, and asked about."""

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
from tui_tuner.runs.private import open_private
from tui_tuner.text import one_line
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.editing.kept import TEXT
from tui_tuner.ui.editing.outside import Editor, edit, find_editor
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.screens.editing.builtin import YamlEditor
from tui_tuner.ui.words import block


async def edited(
    app: App[Any], text: str, line: int, say: Callable[..., None], drafts: DraftKeeper
) -> str | None:
    """Have a text edited, by the user's editor or by ours; None where nothing is to be taken.

    Args:
        line: Where to begin, from 1; 0 for nowhere.
        say: Tells a sentence.
        drafts: Keeps the text if the program ends meanwhile.
    """
    editor = find_editor()
    if editor is not None and editor.trouble:
        say(editor.trouble, "warning", 10)
    while editor is not None and not editor.trouble and _can_lend(app):
        after, trouble = await _outside(app, editor, text, line, drafts)
        if not trouble:
            return after
        answer = await _ask(app, trouble, after != text)
        if answer == "take":
            return after
        if answer is None:
            return None
        text = after
        if answer == "here":
            break
    return await app.push_screen_wait(YamlEditor(text, line))


def _can_lend(app: App[Any]) -> bool:
    driver = app._driver
    return driver is not None and driver.can_suspend and hasattr(driver, "output")


async def _outside(
    app: App[Any], editor: Editor, text: str, line: int, drafts: DraftKeeper
) -> tuple[str, str]:
    """The text as the editor has left it, and why that is not simply taken; empty for no reason."""
    with _private_file(text, drafts) as path:
        try:
            trouble = await edit(app, editor.at_line(line), path)
        except OSError as error:
            name = one_line(editor.words[0], 60)
            return text, _("{editor} cannot be started: {problem}.", editor=name, problem=error.strerror)
        except BaseException:  # the screen closes under it
            after, _trouble = _read(path, text)
            if after != text:
                drafts.keep_text(after)
            raise
        after, odd = _read(path, text)
        return after, odd or trouble


async def _ask(app: App[Any], trouble: str, changed: bool) -> str | None:
    """What becomes of a text whose editor has failed."""
    answers = [("again", _("Edit again"), ""), ("here", _("Edit it here, without that program"), "")]
    if changed:
        answers.insert(0, ("take", _("Take what it wrote"), _("It is checked first, and can be undone.")))
    answers.append(("", _("Leave it: the settings stay as they were"), ""))
    question = block(_("{problem} Nothing was taken yet.", problem=trouble))
    answer = await app.push_screen_wait(Choose(_("Editor"), question, answers))
    return answer or None


@contextlib.contextmanager
def _private_file(text: str, drafts: DraftKeeper) -> Iterator[Path]:
    """A text in a file that nobody else may read, for a while: beside the drafts, to be found by them."""
    try:
        folder = drafts.folder_for_text()
    except OSError:  # then what is killed is lost
        folder = Path(tempfile.mkdtemp(prefix="tui-tuner-"))
    try:
        path = folder / TEXT
        handle = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, before: str) -> tuple[str, str]:
    """The text of a file, and what is odd about it."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return before, _("What it wrote is larger than 1 MiB, so it is no config.")
        raw = path.read_bytes()
    except OSError as error:
        return before, _("What it wrote cannot be read: {problem}.", problem=error.strerror)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n"), ""
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), _("What it wrote is not UTF-8 text.")
