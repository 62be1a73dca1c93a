"""The loss of hidden tokens is that of transformers on the same masks, packed or not, for all kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.core.objective_checks import ObjectiveChecks
from tests.core.ways import Silent
from tui_tuner.compute import attention
from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.compute.forward import MicroSize, Rows
from tui_tuner.config.load import build_config
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.models.device import Device
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.objectives.masked_objective import MaskedObjective
from tui_tuner.objectives.objective import Objective, Setup

SHAPE = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
# Values of each kind, whether its rows can be packed, and whether its head can be given single positions
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "bert": ({}, True),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, True),
    "roberta": ({}, True),
    "albert": ({"embedding_size": 16}, True),
    "electra": ({"embedding_size": 16}, True),
    "deberta-v2": ({"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "legacy": False}, False),
    "modernbert": ({"local_attention": 8, "global_attn_every_n_layers": 2}, True),
}


def make_rows(lengths: list[int]) -> CheckRows:
    """Texts of which nothing is hidden yet: units between two special tokens."""
    random, examples = np.random.default_rng(0), []
    for length in lengths:
        ids = random.integers(10, SHAPE["vocab_size"], length).astype(np.int32)
        labels = np.arange(-1, length - 1, dtype=np.int32)
        ids[[0, -1]], labels[[0, -1]] = (2, 3), IGNORE
        examples.append(Example(ids, labels))
    return CheckRows(examples)


def prepare(kind: str, rows: Rows) -> tuple[MaskedObjective, Any, Silent]:
    """An objective that has tried its ways, and a model without dropout."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    attention.register_attention()
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **SHAPE | KINDS[kind][0]))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = build_config(
        {
            "task": "masked_lm",
            "training": {"autocast": False, "seed": 7},
            "model": {"name": "tiny-bert", "dtype": "float32"},
            "data": {"masking": {"share": 0.3}},
        }
    )
    found, voice = MaskedObjective(config), Silent()
    setup = Setup(model, rows, [list(range(len(rows)))], config, Device("cpu"), 0, 64, voice)
    setup.tokenizer = load_tokenizer(config.model)
    found.prepare_way(setup)
    return found, model, voice


def compute_collated_loss(model: Any, data: Rows, rows: list[int]) -> torch.Tensor:
    """The loss that transformers computes from a padded batch of the same masks."""
    longest = max(int(data.lengths[row]) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORE), torch.zeros_like(ids)
    for line, row in enumerate(rows):
        one = data[row]
        ids[line, : len(one)] = torch.from_numpy(one.ids.astype(np.int64))
        labels[line, : len(one)] = torch.from_numpy(one.labels.astype(np.int64))
        mask[line, : len(one)] = 1
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return loss


class TestMasked(ObjectiveChecks):
    def make(self) -> tuple[Objective, Any, Rows]:
        rows = make_rows([17, 5, 40, 9, 12])
        found, model, _voice = prepare("bert", rows)
        model.train()
        return found, model, found.read_rows(rows, 3)

    def plain(self, model: Any, data: Rows, rows: list[int]) -> torch.Tensor:
        return compute_collated_loss(model, data, rows)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_has_the_loss_of_transformers(kind: str) -> None:
    rows = make_rows([30, 5, 21, 12])
    objective, model, voice = prepare(kind, rows)
    assert objective.exact and objective.way.packing is KINDS[kind][1], voice
    assert objective.way.compact
    model.eval()
    data = objective.read_rows(rows, 0)
    wanted = compute_collated_loss(model, data, [0, 1, 2, 3])
    for size in (1, 2, 4, 8):
        parts = objective.lay_batches(data, [0, 1, 2, 3], MicroSize(size, size * 32))
        with torch.no_grad():
            summed = torch.stack([objective.sum_losses(model, part) for part in parts]).sum()
        found = summed / objective.count_weight(data, [0, 1, 2, 3])
        torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=0)


def test_the_head_sees_hidden_positions_alone() -> None:
    rows = make_rows([30, 20])
    objective, model, _voice = prepare("bert", rows)
    seen: list[int] = []
    model.cls.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[1]))
    data = objective.read_rows(rows, 0)
    (micro,) = objective.lay_batches(data, [0, 1], MicroSize(2, 64))
    objective.sum_losses(model, micro)
    assert seen == [micro.trained_tokens] == [int(data.trained_tokens[[0, 1]].sum())]
