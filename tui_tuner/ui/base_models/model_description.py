"""The description of a model, from a hub or from the files in a local folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.locales import _
from tui_tuner.models.cards.model_card import has_chat_template
from tui_tuner.models.lookup import read_config_json
from tui_tuner.text import format_bytes
from tui_tuner.ui.base_models.model_rows import ModelRow

_MOST_FILES = 2000


@dataclass(frozen=True)
class ModelSummary:
    """What is known about a model; None means unknown.

    Args:
        files: Names and sizes of the files of a download, or in the folder.
        total: Bytes of all of them.
        here: How many of these bytes are already on this machine.
        remote_code: It needs Python code of its own to be loaded.
        page: The address of its page on the hub.
        commit: The revision that this describes.
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

    def find_value(self, *names: str) -> Any:
        """Return the first of these fields in its config.json or in the text part of it."""
        # Models that also read images keep the shapes of their text part in a section.
        text = self.config.get("text_config")
        for values in (self.config, text if isinstance(text, Mapping) else {}):
            for name in names:
                if values.get(name) not in (None, ""):
                    return values[name]
        return None


def describe_model_folder(folder: Path) -> ModelSummary:
    """Describe a model by the files in its folder.

    Raises:
        ModelError: config.json is missing or cannot be read.
    """
    config = read_config_json(folder / "config.json")
    files = _list_files(folder)
    names = {name for name, _size in files}
    return ModelSummary(
        files=files,
        total=sum(size or 0 for _name, size in files),
        config=config,
        safetensors=any(name.endswith(".safetensors") for name in names),
        # Many configs name an auto_map whose code is part of transformers by now and not in the folder.
        remote_code=bool(config.get("auto_map")) and any(name.endswith(".py") for name in names),
        chat_template=has_chat_template(folder, names),
    )


def _list_files(folder: Path) -> tuple[tuple[str, int | None], ...]:
    found: list[tuple[str, int | None]] = []
    with suppress(OSError):
        for path in sorted(folder.rglob("*")):
            if len(found) >= _MOST_FILES:
                break
            with suppress(OSError):
                if path.is_file():
                    found.append((str(path.relative_to(folder)), path.stat().st_size))
    return tuple(found)


def find_described_parameters(row: ModelRow, told: ModelSummary | None) -> int | None:
    """Return the number of parameters, if known."""
    return row.parameters or (told.parameters if told else None)


def describe_model_shape(told: ModelSummary) -> list[str]:
    """List architecture, layers, context, vocabulary and number format, as far as the config has them."""
    layers = told.find_value("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    context = told.find_value("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    vocabulary = told.find_value("vocab_size")
    dtype = told.find_value("dtype", "torch_dtype")
    words = [str(told.find_value("model_type") or "")]
    words += [_("{count} layers", count=layers)] if _is_number(layers) else []
    words += [_("context {count:,} tokens", count=context)] if _is_number(context) else []
    words += [_("vocabulary {count:,}", count=vocabulary)] if _is_number(vocabulary) else []
    words += [str(dtype).removeprefix("torch.")] if dtype else []
    return [word for word in words if word]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def describe_chat_template(told: ModelSummary) -> str:
    """Describe whether the model has a chat template; empty if unknown."""
    if told.chat_template is None:
        return ""
    return _("chat template") if told.chat_template else _("no chat template")


def describe_model_files(told: ModelSummary) -> str:
    """Describe number and total size of the files."""
    if not told.files:
        return ""
    if told.total is None:
        return _("{count} files", count=len(told.files))
    return _("{count} files, {size}", count=len(told.files), size=format_bytes(told.total))


def format_parameter_count(count: int | None) -> str:
    """Format a number of parameters: `0.6 B`, `135 M`."""
    if count is None:
        return ""
    if count >= 950_000_000_000:
        return f"{count / 1e12:.1f} T"
    # From here on models are named in billions: 0.6B, but 500M.
    if count >= 550_000_000:
        return f"{count / 1e9:.1f} B"
    return f"{count / 1e6:.0f} M" if count >= 1_000_000 else f"{count / 1e3:.0f} K"
