"""Dialogs about a model: fetch it, handle a failed download, allow its Python code."""

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

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import DiskFullError, HubError, TunerError
from tui_tuner.locales import _, _n
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.base_models.model_description import ModelSummary
from tui_tuner.ui.base_models.model_rows import ModelRow, format_hub_name
from tui_tuner.ui.hosting import get_tuner_app
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog

FETCH, TAKE, LOGIN, DISK, NO = "fetch", "take", "login", "disk", "no"
WITH, WITHOUT = "with", "without"


class ModelDescribed(Message):
    """The hub's description of the model, or the error, and the free space for it."""

    def __init__(self, told: ModelSummary | None, error: str, free: int | None, folder: str) -> None:
        super().__init__()
        self.told, self.error, self.free, self.folder = told, error, free, folder


class FetchDialog(ChoiceDialog):
    """Asks whether to fetch a model, with its size, free space, licence and terms."""

    def __init__(self, row: ModelRow, told: ModelSummary | None) -> None:
        self._row, self._told = row, told
        super().__init__(
            _("Fetch a model"),
            Content(_("{name}\nAsking the hub for its size…", name=one_line(row.name, 80))),
            [
                (
                    FETCH,
                    _("Fetch it"),
                    _("It continues when you leave this screen, and can be stopped and resumed."),
                ),
                (TAKE, _("Fetch it and put it into the settings"), ""),
                (NO, _("Not now"), ""),
            ],
        )

    def on_mount(self) -> None:
        # A daemon thread: closing the workbench must not wait for a slow hub.
        threading.Thread(target=self._look_up, name="fetch-dialog", daemon=True).start()

    def _look_up(self) -> None:
        """Ask the hub for the files, and the disk for its free space; runs in a thread."""
        from tui_tuner.ui.base_models import hubs

        told, error, folder = self._told, "", Path.home()
        try:
            folder = hubs.find_hub_cache(self._row.source)
            told = hubs.describe_listed_model(self._row)
        except (TunerError, OSError) as problem:
            error = format_error_words(problem)
        # The client of a hub can raise anything, and an exception that leaves a thread would be lost.
        except Exception as problem:
            error = format_error_words(problem)
            get_tuner_app(self.app).fault_outside(problem)
        # The dialog may have closed while the hub was slow; there is no one to post to then.
        with suppress(RuntimeError):
            self.post_message(ModelDescribed(told, error, count_free_bytes(folder), str(folder)))

    @on(ModelDescribed)
    def _show_description(self, message: ModelDescribed) -> None:
        lines = [Content.assemble((make_safe_line(self._row.name).plain, "bold"))]
        if message.told is not None:
            lines += list_fetch_facts(self._row, message.told, message.free, message.folder)
        if message.error:
            lines.append(Content.assemble(("✗ ", "$error"), make_safe_block(message.error)))
        self.query(Static).first().update(Content("\n").join(lines))


def list_fetch_facts(row: ModelRow, told: ModelSummary, free: int | None, folder: str) -> list[Content]:
    """Return size, files, free space before and after, licence and terms as lines."""
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
                    size=format_bytes(told.total),
                    count=count,
                    hub=format_hub_name(row.source),
                )
            )
        )
        if told.here:
            words = _(
                "{done} of it is already on this machine, {missing} is missing.",
                done=format_bytes(told.here),
                missing=format_bytes(missing),
            )
            lines.append(Content(words))
    if free is not None:
        said = {"folder": one_line(folder, 60), "free": format_bytes(free)}
        if missing >= free:
            words = _("✗ Only {free} free in {folder}: not enough.", **said)
            lines.append(Content(words).stylize("$error"))
        else:
            words = _(
                "{free} free in {folder}, {after} afterwards.", after=format_bytes(free - missing), **said
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


def count_free_bytes(folder: Path) -> int | None:
    """Return the free bytes on the disk of a folder that may not exist yet; None if unknown."""
    # The cache folder is made with the first download; its nearest existing parent is on the same disk.
    for place in (folder, *folder.parents):
        with suppress(OSError):
            if os.path.isdir(place):
                return shutil.disk_usage(place).free
    return None


class FailedDialog(ChoiceDialog):
    """Shows why a download failed, with the ways to continue."""

    def __init__(self, row: ModelRow, error: Exception) -> None:
        answers = [(FETCH, _("Try again"), _("What has arrived is not fetched again."))]
        if isinstance(error, DiskFullError):
            words = _("The models on this machine, largest first.")
            answers.append((DISK, _("See what takes up the room"), words))
        if isinstance(error, HubError) or row.gated:
            answers.append((LOGIN, _("Log in, or with another account"), ""))
        answers.append((NO, _("Cancel"), ""))
        super().__init__(_("Download failed"), make_safe_block(format_error_words(error)), answers)


class CodeDialog(ChoiceDialog):
    """Asks whether the Python code of a model may run."""

    def __init__(self, row: ModelRow, told: ModelSummary) -> None:
        name = one_line(row.name, 80)
        question = Content(
            _(
                "{name} brings its own Python code and cannot be loaded without it. The code runs with your "
                "rights: it can read your files and use your network. Allow it only for a model that you "
                "trust.",
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
                # First in the list, so that Enter alone never allows foreign code to run.
                (NO, _("Look for another model"), ""),
                (
                    WITHOUT,
                    _("Choose it, without running its code"),
                    _("The run fails with an error if it cannot be loaded."),
                ),
                (
                    WITH,
                    _("Choose it, and allow its code"),
                    _("Sets model.trust_remote_code, for this model only."),
                ),
            ],
        )
