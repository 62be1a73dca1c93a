"""Whether a beginning that sequences share may be computed once for a model at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tui_tuner.compute import loss
from tui_tuner.compute.batches import Rows
from tui_tuner.compute.shared_prefix import Group, lay


class Probe:
    """Rows for a check, whatever the data is like: the given ones, all with the first half of one of them."""

    def __init__(self, data: Rows, rows: Sequence[int]) -> None:
        self._rows = []
        long = [row for row in rows if data.lengths[row] >= 4]
        half = min((int(data.lengths[row]) for row in long), default=0) // 2
        head = data[long[0]][0][:half] if long else np.zeros(0, dtype=np.int32)
        for row in long:
            ids = np.concatenate([head, data[row][0][half:]])
            self._rows.append((ids, np.arange(len(ids)) > half))
        self.lengths = np.array([len(ids) for ids, _ in self._rows])
        self.prefix = half

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._rows[index]


def exact(model: Any, data: Rows, rows: Sequence[int], path: Any, device: Any) -> bool:
    """Whether the losses of sequences that share a prefix are those of the same sequences alone."""
    probe = Probe(data, rows)
    if len(probe) < 2:
        return False
    everything = list(range(len(probe)))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            micro = lay(probe, [Group(everything, probe.prefix)]).to(device)
            losses = loss.token_losses(model, micro, replace(path, shared=True))
            counts = [int(probe[row][1][1:].sum()) for row in everything]
            truth = loss.alone(model, probe, everything, path, device)
        return loss.difference(list(losses.split(counts)), truth) <= loss.tolerance(model, path)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a model that cannot be called like this keeps its plain flat rows
        return False
    finally:
        model.train(training)
