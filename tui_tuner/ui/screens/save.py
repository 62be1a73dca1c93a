"""Keeping settings as YAML: where, and whether over what is there."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.config.load import dump_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath, Confirm


def save_config(screen: TunerScreen, config: RunConfig) -> None:
    """Ask where, and write the file."""

    def answered(name: str | None) -> None:
        if not name:
            return
        path = Path(name).expanduser()
        if not path.exists():
            _write(screen, path, config)
            return
        question = _("{path} exists. Write over it?", path=one_line(path))
        dialog = Confirm(_("Save"), question, _("Write over it"), _("Keep it"))
        screen.app.push_screen(dialog, lambda yes: _write(screen, path, config) if yes else None)

    screen.app.push_screen(AskPath(_("Save"), _("Keep these settings as YAML in"), "my-run.yaml"), answered)


def _write(screen: TunerScreen, path: Path, config: RunConfig) -> None:
    text = f"# tui-tuner run {path.name}\n" + dump_config(config, changed_only=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        screen.tuner.say(f"{one_line(path)}: {error.strerror}", "error")
        return
    screen.tuner.say(_("Saved. Run it with: tui-tuner run {path}", path=one_line(path)), timeout=8)
