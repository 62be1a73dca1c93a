"""The loss of a rewritten text is that of the model itself and of the Trainer, however rows are laid out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.core.objective_checks import ObjectiveChecks
from tests.core.rewriting.rewriters import KINDS, RewritingRows, collate, make_rewriter
from tests.core.ways import Silent
from tui_tuner.compute.forward import MicroSize, Rows
from tui_tuner.compute.rows.decoder_layout import SOURCE
from tui_tuner.config.load import build_config
from tui_tuner.models.device import Device
from tui_tuner.objectives.decoder_objective import DecoderObjective
from tui_tuner.objectives.objective import Objective, Setup

SIZES = [(9, 4), (3, 7), (17, 2), (5, 5), (12, 9), (2, 3)]
ROWS = RewritingRows(SIZES)


def prepared(
    kind: str, rows: Rows = ROWS, packing: bool = False, **training: Any
) -> tuple[DecoderObjective, Any, Silent]:
    """An objective that has tried its ways, and its model."""
    model = make_rewriter(kind)
    config = build_config(
        {
            "task": "seq2seq",
            "data": {"packing": packing},
            "model": {"dtype": "float32"},
            "training": {"autocast": False, **training},
        }
    )
    voice, objective = Silent(), DecoderObjective(config)
    pad = int(model.config.pad_token_id)
    objective.prepare_way(
        Setup(model, rows, [list(range(len(rows)))], config, Device("cpu"), pad, 1000, voice)  # type: ignore[arg-type]
    )
    return objective, model, voice


class DecoderChecks(ObjectiveChecks):
    kind, packing = "t5", False

    def make(self) -> tuple[Objective, Any, Rows]:
        objective, model, voice = prepared(self.kind, packing=self.packing)
        assert not voice.said and objective.exact and objective.way.compact
        assert objective.way.packing == self.packing
        return objective, model, ROWS

    def plain(self, model: Any, data: Any, rows: list[int]) -> torch.Tensor:
        loss: torch.Tensor = model(**collate(data, rows, model.config.pad_token_id)).loss
        return loss


class TestT5(DecoderChecks):
    kind = "t5"


class TestPackedT5(DecoderChecks):
    kind, packing = "t5", True


class TestPackedBart(DecoderChecks):
    kind, packing = "bart", True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packing", [False, True])
def test_every_kind_of_model_has_its_own_loss(kind: str, packing: bool) -> None:
    objective, model, voice = prepared(kind, packing=packing)
    rows = list(range(len(ROWS)))
    assert not voice.said and objective.way.packing == packing, "each of them packs"
    with torch.no_grad():
        wanted = float(model(**collate(ROWS, rows, model.config.pad_token_id)).loss)
        for each in (1, 2, 4, 8):
            parts = objective.lay_batches(ROWS, rows, MicroSize(each, 1000))
            assert all(part.input_ids.shape[0] <= each for part in parts)
            assert sorted(row for part in parts for row in part.rows) == rows
            found = sum(float(objective.sum_losses(model, part)) for part in parts)
            assert found / objective.count_weight(ROWS, rows) == pytest.approx(wanted, abs=1e-5)


def test_few_rows_hold_all_examples_and_less_memory_means_fewer_in_a_row() -> None:
    objective, _model, _voice = prepared("t5", packing=True)
    rows = list(range(len(ROWS)))
    (whole,) = objective.lay_batches(ROWS, rows, MicroSize(8, 1000))
    assert whole.input_ids.shape == (5, 17) and whole.source_parts is not None
    assert int(whole.source_parts.max()) == len(ROWS) and len(whole.rows) == 6
    alone = objective.group_rows(ROWS, rows, MicroSize(1, 1))
    assert [len(group) for group in alone] == [1] * len(ROWS)


def test_a_model_that_mixes_the_examples_of_a_row_keeps_one_in_each() -> None:
    from unittest.mock import patch

    with patch("tui_tuner.compute.rows.decoder_rows._add_up", lambda mask, dtype: torch.zeros(mask.shape)):
        objective, _model, voice = prepared("t5", packing=True)
    assert not objective.way.packing and objective.exact and "self_check" in voice.said[0]


def test_smoothed_labels_are_those_of_the_trainer() -> None:
    from transformers.trainer_pt_utils import LabelSmoother

    objective, model, _voice = prepared("bart", label_smoothing=0.1)
    rows = list(range(len(ROWS)))
    batch = collate(ROWS, rows, model.config.pad_token_id)
    with torch.no_grad():
        output = model(**batch)
        wanted = LabelSmoother(0.1)(output, batch["labels"])
        micro = objective.lay_batch(ROWS, rows)
        found = objective.sum_losses(model, micro) / objective.count_weight(ROWS, rows)
        measured = objective.measure_batch(model, micro)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    sums = {name: float(value) for name, value in measured.items() if name != "each"}
    judged = objective.summarise_sums(sums, objective.count_weight(ROWS, rows))
    assert judged["loss"] == pytest.approx(float(wanted), abs=1e-5)
    assert judged["perplexity"] == pytest.approx(float(output.loss.exp()), rel=1e-4), "of the tokens alone"


def test_both_sides_are_padded_to_their_own_longest_and_move_together() -> None:
    objective, _model, _voice = prepared("t5")
    groups = objective.group_rows(ROWS, range(len(ROWS)), MicroSize(2, 1000))
    assert groups == [[2, 4], [0, 3], [1, 5]], "sources of similar length together"
    micro = objective.lay_batch(ROWS, groups[0]).to("meta")
    assert micro.input_ids.shape == (2, 17) and micro.decoder_ids is not None
    assert micro.decoder_ids.shape == micro.keep.shape == (2, 9) and micro.decoder_ids.is_meta
    assert micro.lengths == [19, 21] and micro.trained_tokens == 11


def test_a_row_is_cut_for_a_check_so_that_both_sides_are_left() -> None:
    objective, _model, _voice = prepared("t5")
    for size, wanted in ((30, (17, 2)), (12, (10, 2)), (2, (1, 1))):
        cut = objective.laying.cut_example(ROWS[2], size)
        assert (cut.columns[SOURCE], cut.trained_tokens) == wanted
