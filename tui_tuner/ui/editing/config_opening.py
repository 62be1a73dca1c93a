"""Opens any config as a draft: a file, a preset or a run, including its mistakes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config import consent
from tui_tuner.config.load import read_config_text as text_of_config
from tui_tuner.config.presets import list_presets
from tui_tuner.config.problems import suggest_nearest
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line
from tui_tuner.ui.editing.draft_files import hash_draft_text
from tui_tuner.ui.editing.text_check import CheckedText, check_edited_text, is_config_text
from tui_tuner.ui.run_overview import read_run_values


@dataclass(frozen=True)
class OpenedConfig:
    """The config that a form starts with.

    Args:
        name: Its name on the screen.
        text: The YAML as it was found; empty for a run.
        file: The file that saving offers; empty for a preset and a run, which are not overwritten.
    """

    name: str
    reading: CheckedText
    text: str = ""
    file: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """All its values, valid or not."""
        return self.reading.values

    def make_draft_fields(self, yaml: str | None = None) -> dict[str, Any]:
        """Return fields for a draft that starts with it: its file, and its text or one derived from it."""
        known = {self.file: hash_draft_text(self.text)} if self.file else {}
        return {"file": self.file, "yaml": self.text if yaml is None else yaml, "known": known}


def open_config(name: str, store: RunStore) -> OpenedConfig:
    """Open a preset, a YAML file, a run's folder, or a run by its name.

    Raises:
        ConfigError: nothing has that name, or it is not a config.
        RunError, UsageError: the name matches several runs.
    """
    # Presets come first, so that a name in the documentation always means the same.
    presets = {preset.name: preset.path for preset in list_presets()}
    if name in presets:
        return open_config_file(presets[name], preset=name)
    path = Path(os.path.expanduser(name))
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise ConfigError(
            _("is a folder without a config.yaml, so it is not a run."),
            where=one_line(name, 200),
            hint=_("Name a YAML file, a run, or a preset."),
        )
    if path.is_dir():
        return open_run_settings(RunFolder(path))
    if os.path.lexists(path):
        # Saving must never overwrite the config of a run, so the file opens like its run.
        if path.name == "config.yaml" and consent.is_run_config(path):
            return open_run_settings(RunFolder(path.absolute().parent))
        return open_config_file(path)
    runs = [run.name for run in store.list_runs()]
    if name == "last" or any(run.startswith(name) for run in runs):
        return open_run_settings(store.find_run(name))
    beside = [other.name for other in Path(path.parent).glob("*.y*ml")] if path.parent.is_dir() else []
    nearest = suggest_nearest(path.name, [*presets, *runs, *beside])
    raise ConfigError(
        f"{_('neither a file, nor a run, nor a preset.')}{nearest}",
        where=one_line(name, 200),
        hint=_("`tui-tuner presets` lists the presets, `tui-tuner runs` the runs."),
    )


def open_run_settings(folder: RunFolder) -> OpenedConfig:
    """Open the settings of a run, to change and start them again.

    Raises:
        ConfigError: its config is damaged.
    """
    return OpenedConfig(folder.name, CheckedText(read_run_values(folder)))


def open_config_file(path: Path, preset: str = "") -> OpenedConfig:
    """Open a YAML file. Its relative paths refer to its folder, those of a preset to the working folder.

    Raises:
        ConfigError: it cannot be read, or contains no field of a config.
    """
    text = text_of_config(path)
    if not text.strip():
        hint = _("Start from a preset: `tui-tuner presets` lists them.")
        raise ConfigError(_("is empty."), where=one_line(path), hint=hint)
    reading = check_edited_text(text, None if preset else path.absolute().parent)
    if not reading.whole and not is_config_text(reading):
        first = reading.wrong[0]
        where = f"{one_line(path)}:{first.line}" if first.line else one_line(path)
        hint = _("Start from a preset: `tui-tuner presets` lists them.")
        raise ConfigError(first.sentence, where=where, hint=hint)
    if preset:
        return OpenedConfig(preset, reading)
    return OpenedConfig(path.name, reading, text, str(path.absolute()))
