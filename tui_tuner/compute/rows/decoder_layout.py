"""Layout of sources and targets in the forward passes of a model with an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, Rows, stack_columns
from tui_tuner.compute.label_weights import pick_label_weights
from tui_tuner.compute.rows.row_layout import RowLayout
from tui_tuner.compute.rows.row_sizes import round_padded_length
from tui_tuner.data.records import IGNORE, Example

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SOURCE = "source"  # the column with the number of an example's tokens that the encoder reads

# Turns labels [1, T] into what the decoder reads, [1, T]
Shift = Callable[["Tensor"], "Tensor"]


class DecoderLayout(RowLayout):
    """Lays the first tokens of each example out for the encoder and the rest for the decoder.

    Args:
        pad: The token id of padding.
        source: The most tokens of a source. target: The most of a target.
        shift: The model's own way to make the decoder's input from labels.
    """

    def __init__(self, pad: int, source: int, target: int, shift: Shift) -> None:
        super().__init__(pad, source + target)
        self.source, self.target, self._shift = source, target, shift

    def group_rows(
        self, way: ForwardWay, data: Rows, rows: Sequence[int], size: MicroSize
    ) -> list[list[int]]:
        # By sources first: they are the longer side of most rows, so they need most of the padding.
        def lengths(row: int) -> tuple[int, int, int]:
            target = int(data.trained_tokens[row])
            return (target - int(data.lengths[row]), -target, row)

        ordered = sorted(rows, key=lengths)
        return [ordered[start : start + size.sequences] for start in range(0, len(ordered), size.sequences)]

    def lay_rows(
        self,
        way: ForwardWay,
        data: Rows,
        rows: Sequence[int],
        training: bool = True,
        sizes: Sequence[int] = (),
    ) -> MicroBatch:
        return self._lay_padded(data, rows, way.filled)

    def lay_alone(self, data: Rows, rows: Sequence[int]) -> MicroBatch:
        return self._lay_padded(data, rows, False)

    def _lay_padded(self, data: Rows, rows: Sequence[int], filled: bool) -> MicroBatch:
        """Lay one example per row, each side padded on the right to its longest, or to a round length."""
        import torch

        parts = [data[row] for row in rows]
        sources = [int(part.columns[SOURCE]) for part in parts]
        targets = [len(part) - source for part, source in zip(parts, sources, strict=True)]
        wide, long = max(sources), max(targets)
        if filled:
            wide = round_padded_length(wide, self.source)
            long = round_padded_length(long, self.target)
        ids = np.full((len(parts), wide), self.pad, dtype=np.int64)
        mask = np.zeros((len(parts), wide), dtype=np.int64)
        read = np.full((len(parts), long), self.pad, dtype=np.int64)
        labels = np.full((len(parts), long), IGNORE, dtype=np.int64)
        for line, (part, source) in enumerate(zip(parts, sources, strict=True)):
            ids[line, :source] = part.ids[:source]
            mask[line, :source] = 1
            written = torch.from_numpy(part.ids[source:].astype(np.int64))[None]
            # One by one, because mBART's shift depends on where the target ends.
            read[line, : targets[line]] = self._shift(written)[0].numpy()
            labels[line, : targets[line]] = part.labels[source:]
        keep = labels != IGNORE
        return MicroBatch(
            list(rows),
            torch.from_numpy(ids),
            torch.from_numpy(keep),
            torch.from_numpy(labels[keep]),
            [len(part) for part in parts],
            attention_mask=torch.from_numpy(mask),
            columns=stack_columns(parts),
            decoder_ids=torch.from_numpy(read),
            weights=pick_label_weights(parts, np.concatenate([part.labels != IGNORE for part in parts])),
        )

    def cut_example(self, example: Example, longest: int) -> Example:
        if len(example) <= longest:
            return example
        source = int(example.columns[SOURCE])
        target = min(len(example) - source, max(longest // 2, longest - source))
        kept = min(source, longest - target)
        places = np.r_[:kept, source : source + target]
        weights = None if example.weights is None else example.weights[places]
        return Example(
            example.ids[places], example.labels[places], {**example.columns, SOURCE: kept}, weights
        )


def find_shift(model: torch.nn.Module) -> Shift:
    """Return the model's own way to make the decoder's input from labels.

    Models without one shift by one to the right, after `decoder_start_token_id`, as transformers does.
    """
    import torch

    plain = unwrap_model(model)
    own = getattr(plain, "prepare_decoder_input_ids_from_labels", None)
    if own is not None:
        return lambda labels: own(labels=labels)
    start = plain.config.decoder_start_token_id

    def shift(labels: Tensor) -> Tensor:
        return torch.cat((labels.new_full((len(labels), 1), start), labels[:, :-1]), dim=1)

    return shift
