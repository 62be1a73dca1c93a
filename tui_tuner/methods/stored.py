"""Read the files of a saved adapter without a model or a training library."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.errors import ModelError
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BELOW = "below_"  # name and folder of a frozen adapter under a new one
_LARGEST = 100 << 20  # bytes of a header, the limit of the format
# Ends of the names of embeddings and heads in different families of models
EMBEDDINGS = (
    *("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "embed_in.weight"),
    *("lm_head.weight", "embed_out.weight"),
)
# Parts of the names of parameters that peft or a method of ours adds
_PARTS = (
    *("lora_", "hada_", "lokr_", "vera_", "ia3_", "prompt_", "token_adapter", "magnitude"),
    *("bottleneck_", "fusion_", "oft_", "boft_", "fourierft_", "randlora_", "ln_tuning_"),
)


class Stored(NamedTuple):
    """The settings and shapes of an adapter in its files.

    Args:
        settings: Its adapter_config.json.
        shapes: The shapes of the tensors in its file, by name.
    """

    settings: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def whole_tensors(self) -> dict[str, tuple[int, ...]]:
        """Return tensors that replace the base model's own, such as embeddings of added tokens."""
        apart = {*(self.settings.get("modules_to_save") or ()), "modules_to_save"}
        return {
            name: shape
            for name, shape in self.shapes.items()
            if not any(part in name for part in _PARTS) and not apart & set(name.split("."))
        }

    @property
    def embedding_rows(self) -> int:
        """Return for how many tokens it has embeddings; 0 if it has none."""
        found = [
            shape[0]
            for name, shape in self.shapes.items()
            if name.endswith(EMBEDDINGS) and len(shape) == 2 and not any(part in name for part in _PARTS)
        ]
        return max(found, default=0)


def read_stored(place: Path) -> Stored:
    """Read an adapter's config and the header of its weights, and check that the file is complete.

    Raises:
        ModelError: it has no weights in safetensors, or they are damaged.
    """
    # A damaged config is reported when the adapter is loaded
    try:
        settings = json.loads((place / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        settings = {}
    if not (place / WEIGHTS).is_file():
        raise ModelError(
            _("has no {adapter_weights}; weights are loaded only from safetensors.", adapter_weights=WEIGHTS),
            where=one_line(place),
            hint=_("Copy the adapter's folder again, or save it as safetensors."),
        )
    try:
        shapes = _read_shapes(place / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(
            _("the adapter cannot be loaded: {error}", error=_("its weights are damaged or truncated.")),
            where=one_line(place / WEIGHTS),
            hint=_("Copy it again, or use another checkpoint."),
        ) from None
    return Stored(settings if isinstance(settings, dict) else {}, shapes)


def is_embedding(name: str) -> bool:
    """Return whether a weight is one of embeddings, or of the head that writes."""
    return name.endswith(EMBEDDINGS)


def list_below(place: Path) -> list[Path]:
    """Return the folders of the frozen adapters that an adapter was trained on top of, lowest first."""
    return sorted(one.parent for one in place.glob(f"{BELOW}*/{CONFIG}"))


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LARGEST:
            raise ValueError("no safetensors file")
        header = json.loads(file.read(length))
    told = {str(name): one for name, one in header.items() if name != "__metadata__"}
    # The header alone looks valid in a file whose copy was interrupted, so the file's size is compared
    end = max((int(one["data_offsets"][1]) for one in told.values()), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ValueError("cut short")
    return {name: tuple(int(size) for size in one["shape"]) for name, one in told.items()}


def check_adapter_names(over: Collection[str], lacking: Collection[str], place: Path) -> None:
    """Raise `ModelError` if an adapter has weights without a place in the model (`over`), or lacks some."""
    if not over and not lacking:
        return
    if over:
        what = _n(
            "{count} weight of the adapter has no place in the base model: {name}.",
            "{count} weights of the adapter have no place in the base model, such as {name}.",
            len(over),
            count=len(over),
            name=one_line(min(over), 120),
        )
    else:
        what = _n(
            "the adapter lacks {count} weight that the base model needs: {name}.",
            "the adapter lacks {count} weights that the base model needs, such as {name}.",
            len(lacking),
            count=len(lacking),
            name=one_line(min(lacking), 120),
        )
    raise ModelError(
        what, where=one_line(place), hint=_("Check that the base model is the one it was trained on.")
    )
