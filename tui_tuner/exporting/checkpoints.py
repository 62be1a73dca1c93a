"""Make a checkpoint of a run (`step-N`), which holds trained weights alone, into the files of a model."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.inference.origin import Origin
from tui_tuner.training.base_model import RECORD, read_base_record
from tui_tuner.training.keeping.final_model import write_final_model
from tui_tuner.training.load_run import load_run


def is_checkpoint(origin: Origin) -> bool:
    """Return whether an origin is a checkpoint without files of its own model."""
    return origin.kind == "run" and origin.checkpoint.startswith("step-")


def write_checkpoint_model(origin: Origin, folder: Path) -> None:
    """Write the model of a run's checkpoint as a run writes `best`: an adapter, or a whole model.

    The run's model is loaded on the processor, as resuming would.

    Raises:
        RunError, ModelError: as `training.load_run.load_run`.
    """
    found = load_run(
        Path(origin.path), origin.checkpoint, "cpu", base=origin.base, any_base=origin.any_base,
        changes={"model.quantization": "none"},
    )  # fmt: skip

    def add_record(place: Path) -> None:
        record = read_base_record(Path(origin.path))
        (place / RECORD).write_text(record.format_record(), encoding="utf-8")

    write_final_model(found.model, found.tokenizer, folder, add_record)
