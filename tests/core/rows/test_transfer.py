"""A micro-batch goes to a GPU as one piece of memory, and is the same there."""

from __future__ import annotations

import pytest
import torch

from tests.core.test_loss import SomeRows
from tui_tuner.compute import forward, transfer
from tui_tuner.compute.forward import lay_flat_row, lay_padded_rows
from tui_tuner.compute.rows.filler import fill_row


def test_tensors_travel_as_one() -> None:
    tensors = {
        "ids": torch.arange(7)[None],
        "keep": torch.tensor([[True, False, True]]),
        "none": None,
        "empty": torch.zeros(0, dtype=torch.int64),
        "half": torch.tensor([[1.5, -2.0], [0.25, 3.0]], dtype=torch.bfloat16),
        "turned": torch.arange(12.0).view(3, 4).t(),
        "counts": torch.tensor([3, -1], dtype=torch.int32),
    }
    found = transfer.send_tensors_together(tensors, torch.device("cpu"))
    assert list(found) == list(tensors) and found["none"] is None
    for name, tensor in tensors.items():
        if tensor is not None:
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
            assert found[name].storage_offset() * tensor.itemsize % transfer.ALIGNED == 0
    assert len({one.untyped_storage().data_ptr() for one in found.values() if one is not None}) == 1


@pytest.mark.parametrize("padded", [False, True])
def test_a_micro_batch_is_the_same_there(padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = SomeRows([5, 9, 3], 50)
    micro = lay_padded_rows(rows, [0, 1, 2], 0, 16) if padded else fill_row(lay_flat_row(rows, [0, 1, 2]), 64)
    micro.columns["label"] = torch.tensor([1, 0, 1])
    copies: list[torch.Tensor] = []
    inner = transfer.send_tensors_together

    def send(tensors: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
        found = inner(tensors, device)
        copies.append(found["input_ids"])
        return found

    monkeypatch.setattr(forward, "is_on_gpu", lambda _device: True)
    monkeypatch.setattr(forward, "send_tensors_together", send)
    there = micro.to(torch.device("cpu"))
    assert len(copies) == 1
    for name in ("input_ids", "keep", "targets", "position_ids", "attention_mask", "places"):
        one, other = getattr(micro, name), getattr(there, name)
        assert (one is None and other is None) or torch.equal(one, other), name
    assert torch.equal(there.columns["label"], micro.columns["label"])
    assert (there.rows, there.lengths, there.filler) == (micro.rows, micro.lengths, micro.filler)


def test_numbers_are_sent() -> None:
    assert transfer.send_numbers([0, 3, 5], "cpu", torch.int32).tolist() == [0, 3, 5]
    assert transfer.is_on_gpu("cuda:1") and transfer.is_on_gpu(torch.device("cuda", 0))
    assert not transfer.is_on_gpu("cpu") and not transfer.is_on_gpu(torch.device("cpu"))
