"""`best/` and `last/`: what plain transformers and peft can load, with the tokenizer beside it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tui_tuner.methods.weights import HEADED
from tui_tuner.training.keeping.checkpoints import write_folder

DROPPING = "QUESTION_ANS"  # the task whose wrapper in peft drops what its model reads beside ids


def write_final_model(
    model: Any,
    tokenizer: Any,
    target: Path,
    stamp: Callable[[Path], None] | None = None,
    keep: Path | None = None,
) -> None:
    """Replace `target` by the model as it is now: an adapter of peft, or a safetensors model.

    An adapter of a model with a head has that model's config beside it, for the names of classes in it.

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
        with _generic(model):
            model.save_pretrained(str(folder), safe_serialization=True, **options)
        _write_config(model, folder)
        tokenizer.save_pretrained(str(folder))
        if stamp is not None:
            stamp(folder)

    write_folder(target, fill, keep)


@contextlib.contextmanager
def _generic(model: Any) -> Iterator[None]:
    """Within it, an adapter for answers is saved without its task.

    peft's wrapper for that task drops token types and positions, and whoever loads the adapter would compute
    other answers than were trained. Without a task peft passes everything on, as transformers' own loader of
    adapters does; what of the head is saved is named in the adapter's config all the same.
    """
    settings = model.active_peft_config if hasattr(model, "peft_config") else None
    if settings is None or str(settings.task_type) != DROPPING or settings.is_prompt_learning:
        yield
        return
    task, settings.task_type = settings.task_type, None
    try:
        yield
    finally:
        settings.task_type = task


def _write_config(model: Any, folder: Path) -> None:
    """The base model's config beside an adapter, where the adapter holds its head."""
    settings = model.active_peft_config if hasattr(model, "peft_config") else None
    if settings is None or str(settings.task_type) not in HEADED:
        return
    base = model.get_base_model()
    config = copy.deepcopy(base.config)
    config.architectures = [type(base).__name__]
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # how its weights were read is for whoever reads them to say
    config.save_pretrained(str(folder))
