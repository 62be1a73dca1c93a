"""The loss of tags is that of PyTorch, packed or not, and no kind of model gets it wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.core.objective_checks import ObjectiveChecks
from tests.core.ways import Silent
from tui_tuner.compute import attention
from tui_tuner.compute.forward import MicroSize, Rows
from tui_tuner.config.load import build_config
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.models.device import Device
from tui_tuner.objectives.objective import ExampleValues, Objective, Setup
from tui_tuner.objectives.tag_objective import FOUND, TagObjective
from tui_tuner.tasks.classes.tag_judging import judge_tagged_rows

CLASSES = 5
SHAPE = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": CLASSES,
}
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "bert": ({}, True),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, True),
    "roberta": ({}, True),
    "albert": ({"embedding_size": 16}, True),
    "deberta-v2": (
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
        False,
    ),
    "mpnet": ({}, False),
    "modernbert": ({"local_attention": 8, "global_attn_every_n_layers": 2}, True),
    "llama": ({}, True),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4}, True),
}


class TagRows:
    """Examples with labels at some positions, and none at the first."""

    def __init__(self, lengths: list[int]) -> None:
        random = np.random.default_rng(0)
        self.lengths = np.array(lengths)
        self.examples = []
        for length in lengths:
            labels = random.integers(0, CLASSES - 1, length).astype(np.int32)
            labels[random.random(length) < 0.3] = IGNORE
            labels[:2] = IGNORE, CLASSES - 1
            self.examples.append(Example(random.integers(3, 100, length).astype(np.int32), labels))
        self.trained_tokens = np.array([example.trained_tokens for example in self.examples])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def prepared(kind: str, rows: Rows, weights: Any = "none") -> tuple[TagObjective, Any, Silent]:
    """An objective that has tried its ways, and a model without dropout."""
    from transformers import AutoConfig, AutoModelForTokenClassification

    attention.register_attention()
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(AutoConfig.for_model(kind, **SHAPE | KINDS[kind][0]))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    training = {"autocast": False, "class_weights": weights}
    config = build_config(
        {"task": "token_classification", "training": training, "model": {"dtype": "float32"}}
    )
    found, voice = TagObjective(config, judge_tagged_rows), Silent()
    found.prepare_way(Setup(model, rows, [list(range(len(rows)))], config, Device("cpu"), 0, 64, voice))
    return found, model, voice


def plain_loss(model: Any, data: Rows, rows: list[int], weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of PyTorch's over all words of these rows, each row alone."""
    logits, labels = [], []
    for row in rows:
        example = data[row]
        found = model(input_ids=torch.from_numpy(example.ids.astype(np.int64))[None])
        logits.append(found.logits[0])
        labels.append(torch.from_numpy(example.labels.astype(np.int64)))
    return cross_entropy(torch.cat(logits), torch.cat(labels), weight=weights, ignore_index=IGNORE)


class TestTags(ObjectiveChecks):
    asked: Any = "none"

    def make(self) -> tuple[Objective, Any, Rows]:
        rows = TagRows([17, 5, 40, 9, 12])
        found, model, _voice = prepared("bert", rows, self.asked)
        model.train()
        return found, model, rows

    def weights(self, data: Rows) -> torch.Tensor | None:
        return None

    def plain(self, model: Any, data: Rows, rows: list[int]) -> torch.Tensor:
        return plain_loss(model, data, rows, self.weights(data))

    def test_an_evaluation_adds_up_over_micro_batches(self) -> None:
        objective, model, data = self.make()
        rows = list(range(len(data)))
        found = []
        with torch.no_grad():
            for size in (MicroSize(100, 10_000), MicroSize(2, 60)):
                loss, each = 0.0, [np.zeros(0)] * len(rows)
                for group in objective.group_rows(data, rows, size):
                    measured = objective.measure_batch(
                        model, objective.lay_batch(data, group, training=False)
                    )
                    loss += float(measured["loss"])
                    assert isinstance(measured[FOUND], ExampleValues)
                    for row, values in zip(group, measured[FOUND].values, strict=True):
                        each[row] = values.numpy()
                found.append(
                    objective.judge_evaluation(
                        data, {"loss": loss, FOUND: each}, objective.count_weight(data, rows)
                    )
                )
        assert found[0].metrics == pytest.approx(found[1].metrics, rel=1e-5)
        assert found[0].metrics["loss"] == pytest.approx(
            float(self.plain(model, data, rows).detach()), abs=1e-4
        )
        with torch.no_grad():
            right = sum(
                int((model(input_ids=torch.tensor(one.ids[None].tolist())).logits[0].argmax(-1).numpy()
                     == one.labels).sum())
                for one in (data[row] for row in rows)
            )  # fmt: skip
        assert found[0].metrics["accuracy"] == pytest.approx(right / sum(data.trained_tokens))


class TestBalanced(TestTags):
    """Rare tags count more: the weighted mean, as PyTorch computes it."""

    asked = "balanced"

    def weights(self, data: Rows) -> torch.Tensor | None:
        labels = np.concatenate([data[row].labels for row in range(len(data))])
        counts = np.bincount(labels[labels != IGNORE], minlength=CLASSES)
        return torch.tensor(counts.sum() / (CLASSES * counts), dtype=torch.float32)


class TestNamed(TestTags):
    asked = {"LABEL_1": 5.0, "LABEL_0": 0.25}  # noqa: RUF012

    def weights(self, data: Rows) -> torch.Tensor | None:
        return torch.tensor([0.25, 5.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_way_is_exact(kind: str) -> None:
    rows = TagRows([17, 5, 40, 9, 12, 23])
    objective, model, voice = prepared(kind, rows)
    assert objective.exact
    assert objective.way.packing == KINDS[kind][1], voice.said
    model.eval()
    order = list(range(len(rows)))
    with torch.no_grad():
        parts = objective.lay_batches(rows, order, MicroSize(4, 64))
        found = sum(float(objective.sum_losses(model, part)) for part in parts) / objective.count_weight(
            rows, order
        )
        assert found == pytest.approx(float(plain_loss(model, rows, order)), abs=1e-5)
