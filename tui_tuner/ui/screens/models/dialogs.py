"""Questions about a model: fetch it, what to do where that failed, whether its code may run."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from textual import on
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tui_tuner.config.advice import words_of
from tui_tuner.errors import DiskFullError, HubError, TunerError
from tui_tuner.locales import _, _n
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.base_models.rows import Row, hub_words
from tui_tuner.ui.base_models.told import Told
from tui_tuner.ui.hosting import tuner_of
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.words import block, safe

FETCH, TAKE, LOGIN, DISK, NO = "fetch", "take", "login", "disk", "no"
WITH, WITHOUT = "with", "without"


class Asked(Message):
    """What a hub tells of the model that is asked about, or why it does not."""

    def __init__(self, told: Told | None, error: str, free: int | None, folder: str) -> None:
        super().__init__()
        self.told, self.error, self.free, self.folder = told, error, free, folder


class FetchDialog(Choose):
    """What fetching a model takes, before it is done."""

    def __init__(self, row: Row, told: Told | None) -> None:
        self._row, self._told = row, told
        super().__init__(
            _("Fetch a model"),
            Content(_("{name}\nAsking the hub what it takes…", name=one_line(row.name, 80))),
            [
                (
                    FETCH,
                    _("Fetch it"),
                    _("It continues when you leave this screen, and can be stopped and resumed."),
                ),
                (TAKE, _("Fetch it, and take it into the settings"), ""),
                (NO, _("Not now"), ""),
            ],
        )

    def on_mount(self) -> None:
        threading.Thread(target=self._look, name="fetch-dialog", daemon=True).start()

    def _look(self) -> None:
        """In a thread: the files, and the room there is for them."""
        from tui_tuner.ui.base_models import hubs

        told, error, folder = self._told, "", Path.home()
        try:
            folder = hubs.cache_folder(self._row.source)
            told = hubs.describe(self._row)
        except (TunerError, OSError) as problem:
            error = words_of(problem)
        except Exception as problem:
            error = words_of(problem)
            tuner_of(self.app).fault_outside(problem)
        with suppress(RuntimeError):
            self.post_message(Asked(told, error, free_bytes(folder), str(folder)))

    @on(Asked)
    def _told_of(self, message: Asked) -> None:
        lines = [Content.assemble((safe(self._row.name).plain, "bold"))]
        if message.told is not None:
            lines += fetch_lines(self._row, message.told, message.free, message.folder)
        if message.error:
            lines.append(Content.assemble(("✗ ", "$error"), block(message.error)))
        self.query(Static).first().update(Content("\n").join(lines))


def fetch_lines(row: Row, told: Told, free: int | None, folder: str) -> list[Content]:
    """Bytes, files, the room before and after, licence and terms."""
    lines = []
    missing = max(0, (told.total or 0) - told.here)
    if told.total is not None:
        count = len(told.files)
        lines.append(
            Content(
                _n(
                    "{size} in {count} file, from {hub}.",
                    "{size} in {count} files, from {hub}.",
                    count,
                    size=human_bytes(told.total),
                    count=count,
                    hub=hub_words(row.source),
                )
            )
        )
        if told.here:
            words = _(
                "{done} of it is here already, {missing} is left.",
                done=human_bytes(told.here),
                missing=human_bytes(missing),
            )
            lines.append(Content(words))
    if free is not None:
        said = {"folder": one_line(folder, 60), "free": human_bytes(free)}
        if missing >= free:
            words = _("✗ Only {free} free in {folder}: too little.", **said)
            lines.append(Content(words).stylize("$error"))
        else:
            words = _(
                "{free} free in {folder}, {after} afterwards.", after=human_bytes(free - missing), **said
            )
            lines.append(Content(words))
    licence = row.licence or told.licence
    lines.append(
        Content(_("Licence: {name}.", name=one_line(licence, 60)) if licence else _("No licence is given."))
    )
    if told.gated or row.gated:
        words = _("Gated: accept its terms at {page} and log in.", page=one_line(told.page))
        lines.append(Content(words).stylize("$warning"))
    if told.safetensors is False:
        lines.append(
            Content(_("Its weights are not safetensors files, so they are not fetched.")).stylize("$warning")
        )
    if told.remote_code:
        lines.append(
            Content(_("It brings its own Python code, which is fetched and not run.")).stylize("$warning")
        )
    return lines


def free_bytes(folder: Path) -> int | None:
    """The room on the disk of a folder, which need not be there yet; None where nobody can tell."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            if os.path.isdir(place):
                return shutil.disk_usage(place).free
    return None


class FailedDialog(Choose):
    """Why fetching failed, and what can be done."""

    def __init__(self, row: Row, error: Exception) -> None:
        answers = [(FETCH, _("Try again"), _("What has arrived is not fetched again."))]
        if isinstance(error, DiskFullError):
            words = _("The models that are here, the largest first.")
            answers.append((DISK, _("See what takes up the room"), words))
        if isinstance(error, HubError) or row.gated:
            answers.append((LOGIN, _("Log in, or with another account"), ""))
        answers.append((NO, _("Leave it"), ""))
        super().__init__(_("Fetching failed"), block(words_of(error)), answers)


class CodeDialog(Choose):
    """Whether the Python code of a model may run."""

    def __init__(self, row: Row, told: Told) -> None:
        name = one_line(row.name, 80)
        question = Content(
            _(
                "{name} brings its own Python code and cannot be loaded without it. Code of a model runs "
                "with your rights: it can read your files and use your network. Say yes only to one that "
                "you trust.",
                name=name,
            )
        )
        if told.page:
            question = Content("\n").join(
                [question, Content(_("Its page: {page}", page=one_line(told.page)))]
            )
        super().__init__(
            _("Code of a model"),
            question,
            [
                (NO, _("Look for another model"), ""),
                (
                    WITHOUT,
                    _("Take it, and let none of its code run"),
                    _("A run says so when it cannot be loaded."),
                ),
                (
                    WITH,
                    _("Take it, and let its code run"),
                    _("Sets model.trust_remote_code, for this model alone."),
                ),
            ],
        )
