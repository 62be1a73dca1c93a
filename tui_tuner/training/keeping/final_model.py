"""`best/` and `last/`: what plain transformers and peft can load, with the tokenizer beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_tuner.methods.attached import method_of
from tui_tuner.training.keeping.checkpoints import write_folder


def write_final_model(
    model: Any,
    tokenizer: Any,
    target: Path,
    stamp: Callable[[Path], None] | None = None,
    keep: Path | None = None,
) -> None:
    """Replace `target` by the model as it is now: an adapter, or a safetensors model.

    An adapter of a model with a head has that model's config beside it, for the names of classes in it.

    Args:
        stamp: Writes more into the folder.
        keep: Where what stood there before is kept.

    Raises:
        DiskFullError: no room; what was there before stays.
    """

    def fill(folder: Path) -> None:
        method_of(model).save_model(model, folder)
        tokenizer.save_pretrained(str(folder))
        if stamp is not None:
            stamp(folder)

    write_folder(target, fill, keep)
