"""Any config as the beginning of a draft: a file, a preset, a run; whatever is wrong in it comes along."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config import consent
from tui_tuner.config.load import read_text as text_of_config
from tui_tuner.config.presets import list_presets
from tui_tuner.config.problems import nearest
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line
from tui_tuner.ui.editing.check import Reading, is_config, read_text
from tui_tuner.ui.editing.kept import digest
from tui_tuner.ui.overview import run_values


@dataclass(frozen=True)
class Opened:
    """What the form is to begin with.

    Args:
        name: What it is called on the screen.
        text: The YAML as it was found; empty for a run.
        file: The file that saving offers; empty for a preset and a run, which are not written over.
    """

    name: str
    reading: Reading
    text: str = ""
    file: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """What it says, be it right or wrong."""
        return self.reading.values

    def of_file(self, yaml: str | None = None) -> dict[str, Any]:
        """For a draft that begins with it: its file, and its text or another that was made of it."""
        known = {self.file: digest(self.text)} if self.file else {}
        return {"file": self.file, "yaml": self.text if yaml is None else yaml, "known": known}


def open_config(name: str, store: RunStore) -> Opened:
    """What a name stands for: a preset, a YAML file, a run's folder, or a run's name.

    Raises:
        ConfigError: there is none of that name, or it is no config at all.
        RunError, UsageError: it fits several runs.
    """
    presets = {preset.name: preset.path for preset in list_presets()}
    if name in presets:
        return open_file(presets[name], preset=name)
    path = Path(os.path.expanduser(name))
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise ConfigError(
            _("is a folder without a config.yaml, so it is not a run."),
            where=one_line(name, 200),
            hint=_("Name a YAML file, a run, or a preset."),
        )
    if path.is_dir():
        return open_run(RunFolder(path))
    if os.path.lexists(path):
        if path.name == "config.yaml" and consent.of_a_run(path):
            return open_run(RunFolder(path.absolute().parent))
        return open_file(path)
    runs = [run.name for run in store.runs()]
    if name == "last" or any(run.startswith(name) for run in runs):
        return open_run(store.find(name))
    beside = [other.name for other in Path(path.parent).glob("*.y*ml")] if path.parent.is_dir() else []
    raise ConfigError(
        f"{_('neither a file, nor a run, nor a preset.')}{nearest(path.name, [*presets, *runs, *beside])}",
        where=one_line(name, 200),
        hint=_("`tui-tuner presets` lists the presets, `tui-tuner runs` the runs."),
    )


def open_run(folder: RunFolder) -> Opened:
    """The settings of a run, to change and start again.

    Raises:
        ConfigError: its config is damaged.
    """
    return Opened(folder.name, Reading(run_values(folder)))


def open_file(path: Path, preset: str = "") -> Opened:
    """A YAML file. Its relative paths keep what they mean beside it; a preset's mean the working folder.

    Raises:
        ConfigError: it cannot be read, or has nothing of a config in it.
    """
    text = text_of_config(path)
    if not text.strip():
        hint = _("Begin from a preset: `tui-tuner presets` lists them.")
        raise ConfigError(_("is empty."), where=one_line(path), hint=hint)
    reading = read_text(text, None if preset else path.absolute().parent)
    if not reading.whole and not is_config(reading):
        first = reading.wrong[0]
        where = f"{one_line(path)}:{first.line}" if first.line else one_line(path)
        hint = _("Begin from a preset: `tui-tuner presets` lists them.")
        raise ConfigError(first.sentence, where=where, hint=hint)
    if preset:
        return Opened(preset, reading)
    return Opened(path.name, reading, text, str(path.absolute()))
