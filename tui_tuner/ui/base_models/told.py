"""What is told of one model: by a hub, or by the files in a folder of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.locales import _
from tui_tuner.models.cards.reading import has_chat_template
from tui_tuner.models.lookup import read_config
from tui_tuner.text import human_bytes
from tui_tuner.ui.base_models.rows import Row

_MOST_FILES = 2000


@dataclass(frozen=True)
class Told:
    """What is known of a model; None stands for what nobody has told.

    Args:
        files: Names and bytes of what a download takes, or of what is in the folder.
        total: Bytes of all of them.
        here: How many of these bytes are on this machine already.
        remote_code: It brings Python code that it cannot be loaded without.
        page: The address of its page.
        commit: The revision that this was told of.
    """

    files: tuple[tuple[str, int | None], ...] = ()
    total: int | None = None
    here: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    gated: bool = False
    safetensors: bool | None = None
    remote_code: bool = False
    chat_template: bool | None = None
    parameters: int | None = None
    updated: str = ""
    page: str = ""
    commit: str = ""

    def value(self, *names: str) -> Any:
        """A value of its config.json, or of the text part in it, by the first of these names it has."""
        text = self.config.get("text_config")
        for values in (self.config, text if isinstance(text, Mapping) else {}):
            for name in names:
                if values.get(name) not in (None, ""):
                    return values[name]
        return None


def told_of_folder(folder: Path) -> Told:
    """What the files in a folder tell.

    Raises:
        ModelError: it has no config.json, or one that cannot be read.
    """
    config = read_config(folder / "config.json")
    files = _files(folder)
    names = {name for name, _size in files}
    return Told(
        files=files,
        total=sum(size or 0 for _name, size in files),
        config=config,
        safetensors=any(name.endswith(".safetensors") for name in names),
        remote_code=bool(config.get("auto_map")) and any(name.endswith(".py") for name in names),
        chat_template=has_chat_template(folder, names),
    )


def _files(folder: Path) -> tuple[tuple[str, int | None], ...]:
    found: list[tuple[str, int | None]] = []
    with suppress(OSError):
        for path in sorted(folder.rglob("*")):
            if len(found) >= _MOST_FILES:
                break
            with suppress(OSError):
                if path.is_file():
                    found.append((str(path.relative_to(folder)), path.stat().st_size))
    return tuple(found)


def told_parameters(row: Row, told: Told | None) -> int | None:
    """How many parameters a model has, if anybody has told."""
    return row.parameters or (told.parameters if told else None)


def shape_words(told: Told) -> list[str]:
    """Architecture, layers, context, vocabulary and number format, each where the config has it."""
    layers = told.value("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    context = told.value("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    vocabulary = told.value("vocab_size")
    dtype = told.value("dtype", "torch_dtype")
    words = [str(told.value("model_type") or "")]
    words += [_("{count} layers", count=layers)] if _number(layers) else []
    words += [_("context {count:,} tokens", count=context)] if _number(context) else []
    words += [_("vocabulary {count:,}", count=vocabulary)] if _number(vocabulary) else []
    words += [str(dtype).removeprefix("torch.")] if dtype else []
    return [word for word in words if word]


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def template_words(told: Told) -> str:
    """Whether it has a chat template, in words."""
    if told.chat_template is None:
        return ""
    return _("chat template") if told.chat_template else _("no chat template")


def files_words(told: Told) -> str:
    """How many files there are, and how large they are together."""
    if not told.files:
        return ""
    if told.total is None:
        return _("{count} files", count=len(told.files))
    return _("{count} files, {size}", count=len(told.files), size=human_bytes(told.total))


def count_words(count: int | None) -> str:
    """A number of parameters: `0.6 B`, `135 M`."""
    if count is None:
        return ""
    if count >= 950_000_000_000:
        return f"{count / 1e12:.1f} T"
    if count >= 550_000_000:
        return f"{count / 1e9:.1f} B"
    return f"{count / 1e6:.0f} M" if count >= 1_000_000 else f"{count / 1e3:.0f} K"
