"""Fields that hold a path or a model: what is chosen for them on a key, in place of being typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.locales import N_, _
from tui_tuner.ui.form import at

if TYPE_CHECKING:
    from tui_tuner.ui.screens.base import TunerScreen

MODEL = "model.name"
Taken = Callable[[Mapping[str, Any]], Awaitable[None]]  # values, by the dotted names of their fields


class Files(NamedTuple):
    """What is looked for: a title, the ends of names, the kind that recent ones are kept by."""

    title: str
    suffixes: tuple[str, ...]
    recent: str
    folders: bool = False


_DATA = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".zip", ".gz", ".conll", ".sql")
FILES: dict[str, Files] = {
    "data.path": Files(N_("Data"), _DATA, "data", True),
    "data.validation": Files(N_("Held-out rows"), _DATA, "data"),
    "data.cleaning.phrases": Files(N_("Phrases of refusals"), (".yaml", ".yml"), "phrases"),
    "model.tokenizer": Files(N_("Folder of a tokenizer"), (), "tokenizer", True),
    "model.chat_template": Files(N_("Chat template"), (".jinja", ".jinja2", ".j2"), "template"),
    "output.folder": Files(N_("Folder for runs"), (), "output", True),
}


def choosable(path: str) -> bool:
    """Whether there is something to choose from for a field."""
    return path == MODEL or path in FILES


def choose_for(screen: TunerScreen, path: str, values: Mapping[str, Any], taken: Taken) -> None:
    """Let one choose above a screen.

    Args:
        path: The field.
        values: The draft.
        taken: Told what was chosen.
    """
    if path == MODEL:
        from tui_tuner.ui.screens.models.asking import ask_model

        ask_model(screen, taken)
        return
    from tui_tuner.ui.screens.choosing import ChooseFile

    async def answered(chosen: str | None) -> None:
        if chosen is not None:
            await taken({path: chosen})

    files, now = FILES[path], at(values, path)
    start = now if isinstance(now, str) and "/" in now else ""
    dialog = ChooseFile(_(files.title), start, files.suffixes, files.recent, folders=files.folders)
    screen.app.push_screen(dialog, answered)
