"""Classifiers over flat rows: each architecture says of a text what it says of it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.core.objective_checks import ObjectiveChecks
from tests.core.tasks.classifiers import sizes
from tests.core.ways import Silent
from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay, Rows, lay_flat_row, lay_padded_rows
from tui_tuner.compute.pooled_heads import compute_sequence_logits, find_pooled_states
from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.labels.weights import compute_class_weights
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.errors import ConfigError
from tui_tuner.models.device import Device
from tui_tuner.objectives.class_objective import ClassObjective
from tui_tuner.objectives.setup import Setup
from tui_tuner.tasks.classes.class_judging import judge_classes

FLAT = ForwardWay(packing=True, compact=True, segments=True)
PADDED = ForwardWay(packing=False, compact=True, segments=False)
TYPED = ("bert", "albert", "electra")  # tell two texts apart
POOLED = {
    "bert": "first", "distilbert": "first", "roberta": "first", "albert": "first", "electra": "first",
    "modernbert": "all", "llama": "last", "qwen3": "last", "gpt2": "last",
}  # fmt: skip


class Texts:
    """Rows of random tokens, the second half of each of type 1, with a class each."""

    def __init__(self, lengths: tuple[int, ...], classes: int = 3) -> None:
        chance = np.random.default_rng(3)
        self.examples = []
        for number, length in enumerate(lengths):
            ids = chance.integers(5, 80, length).astype(np.int32)
            types = (np.arange(length) > length // 2).astype(int)
            columns = {COLUMN: pack_types(types), "target": np.int64(number % classes)}
            self.examples.append(Example(ids, np.full(length, IGNORE, dtype=np.int32), columns))
        self.lengths = np.array(lengths)
        self.trained_tokens = np.zeros(len(lengths), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def classifier(kind: str, classes: int = 3, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(1)
    settings = AutoConfig.for_model(kind, **sizes(kind), num_labels=classes, **more)
    settings.pad_token_id = 0
    attention.register_attention()
    return AutoModelForSequenceClassification.from_config(settings).eval()


def alone(model: Any, data: Texts, kind: str) -> torch.Tensor:
    """Each text by itself, called as any user would."""
    found = []
    for example in data.examples:
        inputs = {"input_ids": torch.tensor(example.ids[None]).long()}
        if kind in TYPED:
            length = len(example)
            inputs["token_type_ids"] = torch.tensor((np.arange(length) > length // 2)[None]).long()
        found.append(model(**inputs).logits)
    return torch.cat(found)


@pytest.mark.parametrize("kind", POOLED)
def test_a_flat_row_says_what_each_text_alone_says(kind: str) -> None:
    model, data = classifier(kind), Texts((5, 17, 60, 2, 31))
    rows = list(range(len(data)))
    with torch.no_grad():
        wanted = alone(model, data, kind)
        pooled = find_pooled_states(model, lay_padded_rows(data, [0, 2], 0), PADDED)
        padded = compute_sequence_logits(model, lay_padded_rows(data, rows, 0), PADDED, pooled)
        model.set_attn_implementation(attention.NAME)
        flat = compute_sequence_logits(model, lay_flat_row(data, rows), FLAT, pooled)
        whole = compute_sequence_logits(model, lay_flat_row(data, rows), FLAT, "all")
    assert pooled == POOLED[kind]
    scale = float(wanted.abs().max())
    assert scale > 0.1 and float(wanted.std(0).min()) > 1e-3
    for found in (padded, flat, whole):
        torch.testing.assert_close(found, wanted, atol=1e-5 * scale, rtol=1e-4)


def prepared(model: Any, data: Rows, **values: Any) -> tuple[ClassObjective, Silent]:
    config: Any = build_config(
        {"task": "classification", "data": {"problem": "single", "packing": True}, "training": values}
    )
    objective = ClassObjective(config, lambda *found: judge_classes("single", *found))
    voice = Silent()
    rows = list(range(len(data)))
    objective.prepare_way(Setup(model, data, [rows], config, Device("cpu"), 0, 200, voice))
    return objective, voice


def test_a_model_whose_attention_is_its_own_reads_padded_rows() -> None:
    """DeBERTa's attention cannot be replaced, so texts would mix in a flat row: they lie in padded ones."""
    model, data = classifier("deberta-v2"), Texts((5, 9, 30, 12))
    objective, voice = prepared(model, data, autocast=False)
    assert not objective.way.packing and objective.exact
    assert any("reads one text per row" in said for said in voice.said)
    with torch.no_grad():
        found = objective.compute_losses(model, objective.lay_batch(data, [0, 1, 2, 3]), objective.way)
        wanted = torch.nn.functional.cross_entropy(
            alone(model, data, "deberta-v2"), torch.tensor([0, 1, 2, 0]), reduction="none"
        )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


class Checks(ObjectiveChecks):
    kind = "bert"
    weights: Any = "balanced"

    def make(self) -> tuple[Any, Any, Rows]:
        model, data = classifier(self.kind), Texts((5, 17, 60, 2, 31, 8, 9))
        objective, _ = prepared(model, data, autocast=False, class_weights=self.weights)
        assert objective.way.packing
        return objective, model, data

    def plain(self, model: Any, data: Any, rows: list[int]) -> torch.Tensor:
        stock = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        logits = alone(model, data, self.kind)
        model.set_attn_implementation(stock)
        weights = torch.tensor([7 / 9, 7 / 6, 7 / 6]) if self.weights == "balanced" else None
        targets = torch.tensor([row % 3 for row in rows])
        return torch.nn.functional.cross_entropy(logits, targets, weight=weights)

    def test_an_evaluation_adds_up_over_micro_batches(self) -> None:
        """Its values are those of each example, so the rows are put together and judged."""
        from tui_tuner.compute.forward import MicroSize

        objective, model, data = self.make()
        rows = list(range(len(data)))
        with torch.no_grad():
            wanted = objective.measure_batch(model, objective.lay_batch(data, rows, training=False))
            for group in objective.group_rows(data, rows, MicroSize(2, 60)):
                found = objective.measure_batch(model, objective.lay_batch(data, group, training=False))
                for row, one in zip(group, found["logits"].values, strict=True):
                    torch.testing.assert_close(one, wanted["logits"].values[row], atol=1e-5, rtol=1e-5)
        sums = {"loss": float(wanted["loss"]), "logits": [one.numpy() for one in wanted["logits"].values]}
        judged = objective.judge_evaluation(data, sums, objective.count_weight(data, rows))
        assert judged.metrics["loss"] == pytest.approx(
            float(self.plain(model, data, rows).detach()), abs=1e-5
        )


class TestEncoder(Checks):
    pass


class TestDecoder(Checks):
    kind, weights = "llama", "none"


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """`compute_class_weight("balanced")` of scikit-learn 1.9 gives these."""
    targets = np.array([0] * 7 + [1] * 2 + [2] * 3)
    found = compute_class_weights("balanced", targets, ["a", "b", "c"], "single")
    assert found is not None
    assert found.tolist() == pytest.approx([0.5714285714285714, 2.0, 1.3333333333333333], abs=1e-12)
    told = compute_class_weights({"b": 3}, targets, ["a", "b", "c"], "single")
    assert told is not None and told.tolist() == [1.0, 3.0, 1.0]
    several = compute_class_weights(
        "balanced", np.array([[1, 0], [0, 0], [0, 1], [0, 1]]), ["a", "b"], "multi"
    )
    assert several is not None and several.tolist() == [3.0, 1.0]
    for asked in ({"d": 1.0}, {"a": -1.0}, {"a": float("inf")}):
        with pytest.raises(ConfigError) as error:
            compute_class_weights(asked, targets, ["a", "b", "c"], "single")
        assert error.value.where == "training.class_weights"
    with pytest.raises(ConfigError):
        compute_class_weights("balanced", targets, ["LABEL_0"], "regression")


def test_the_guides_own_numbers() -> None:
    """distilbert-base-uncased, LoRA r=1 on q_lin: 601,346 of 67,556,356 parameters (0.8901 %)."""
    from transformers import AutoModelForSequenceClassification, DistilBertConfig

    from tui_tuner.methods import attach, count_model_parameters
    from tui_tuner.tasks import find_task

    config = RunConfig.model_validate(
        {
            "task": "classification",
            "method": {"kind": "lora", "rank": 1, "alpha": 32, "dropout": 0.01, "targets": ["q_lin"]},
        }
    )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(DistilBertConfig(num_labels=2))
        model = attach(model, config, find_task("classification").peft_type)
    trained, total = count_model_parameters(model)
    assert (trained, total) == (601_346, 67_556_356)
    assert model.get_nb_trainable_parameters() == (trained, total)
    assert f"{trained / total:.4%}" == "0.8901%"
