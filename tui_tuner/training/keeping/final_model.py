"""`best/` and `last/`: what plain transformers and peft can load, with the tokenizer beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_tuner.training.keeping.checkpoints import write_folder


def write_final_model(
    model: Any,
    tokenizer: Any,
    target: Path,
    stamp: Callable[[Path], None] | None = None,
    keep: Path | None = None,
) -> None:
    """Replace `target` by the model as it is now: an adapter of peft, or a safetensors model.

    Args:
        stamp: Writes more into the folder.
        keep: Where what stood there before is kept.

    Raises:
        DiskFullError: no room; what was there before stays.
    """

    def fill(folder: Path) -> None:
        options: dict[str, Any] = {}
        if hasattr(model, "peft_config"):
            # peft asks a hub about the vocabulary otherwise; trained embeddings are saved as modules anyway
            options["save_embedding_layers"] = False
        model.save_pretrained(str(folder), safe_serialization=True, **options)
        tokenizer.save_pretrained(str(folder))
        if stamp is not None:
            stamp(folder)

    write_folder(target, fill, keep)
