"""Write `best/` and `last/`: folders that plain transformers and peft can load, with the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_tuner.methods.attached import find_model_method, is_adapter_model
from tui_tuner.models.growing.growth import copy_record
from tui_tuner.training.keeping.checkpoints import write_checkpoint_folder


def write_final_model(
    model: Any,
    tokenizer: Any,
    target: Path,
    stamp: Callable[[Path], None] | None = None,
    keep: Path | None = None,
) -> None:
    """Replace `target` with the model as it is now: an adapter, or a whole model in safetensors files.

    An adapter of a model with a head gets that model's config too, for the names of its classes.

    Args:
        stamp: Writes more files into the folder.
        keep: Where the previous folder is kept; it is deleted otherwise.

    Raises:
        DiskFullError: no room; the previous folder stays.
    """

    def fill(folder: Path) -> None:
        find_model_method(model).save_model(model, folder)
        tokenizer.save_pretrained(str(folder))
        # A tokenizer that was not read from a folder has no record.
        if is_adapter_model(model) and tokenizer.name_or_path:
            # A whole model has its new rows; the base model of an adapter gets them when it is loaded.
            copy_record(Path(tokenizer.name_or_path), folder)
        # Last: a stamp records the sizes of files, and a card replaces the one that peft has written.
        if stamp is not None:
            stamp(folder)

    write_checkpoint_folder(target, fill, keep)
