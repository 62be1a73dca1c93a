"""Open the weights of a source's files, dequantised where they are quantised."""

from __future__ import annotations

from tui_tuner.exporting.merging.dequantised import DequantisedFiles
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.source import Source


def open_weights(source: Source) -> WeightFiles | DequantisedFiles:
    """Return the tensors of a whole model or of an adapter's base model.

    Raises:
        ModelError: files are damaged, or quantised in a way that is not undone here.
    """
    config = source.read_base_config()
    if not config.get("quantization_config"):
        return WeightFiles(source.weights)
    return DequantisedFiles(source.weights, config)
