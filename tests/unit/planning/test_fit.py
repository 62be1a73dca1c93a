"""Fitting a run into a card."""

from __future__ import annotations

import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import facts_from_config
from tui_tuner.planning.fit import apply, fit, which_cards
from tui_tuner.planning.gpus import CARDS, find_card
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.planning.resolve import resolve

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
FACTS = facts_from_config(LLAMA_8B)


def config(**sections):
    return RunConfig.model_validate(sections)


@pytest.mark.parametrize("name", CARDS)
def test_what_is_said_to_fit_fits_with_its_margin(name):
    found = fit(config(model={"quantization": "nf4"}), CARDS[name], facts=FACTS)
    assert found.fits == (found.estimate.upper <= found.card.usable)
    assert found.config.training.micro_batch != "auto"
    assert found.sentence()


def test_pinned_settings_are_never_changed():
    asked = config(training={"micro_batch": 8, "gradient_checkpointing": False, "optimizer": "adamw"})
    found = fit(asked, find_card("T4"), facts=FACTS)
    assert not found.fits
    chosen = found.config.training
    assert (chosen.micro_batch, chosen.gradient_checkpointing, chosen.optimizer) == (8, False, "adamw")


def test_the_smallest_change_does_make_it_fit():
    asked = config(training={"micro_batch": 4, "gradient_checkpointing": False})
    found = fit(asked, find_card("RTX 4090"), facts=FACTS)
    assert not found.fits and found.smallest
    again = fit(apply(found.config, found.smallest), find_card("RTX 4090"), facts=FACTS)
    assert again.fits
    assert found.smallest[0].label in found.sentence()


def test_nothing_helps_a_hopeless_case():
    found = fit(
        config(method={"kind": "full"}, model={"architecture": LLAMA_8B}), find_card("T4"), facts=FACTS
    )
    assert not found.fits and not found.smallest
    assert "larger card" in found.sentence()


def test_levers_say_what_they_save():
    found = fit(
        config(training={"micro_batch": 8, "gradient_checkpointing": False}), CARDS["A100-80"], facts=FACTS
    )
    levers = {lever.change.path: lever for lever in found.levers}
    assert levers["training.gradient_checkpointing"].saves > 5
    assert levers["training.gradient_checkpointing"].time == pytest.approx(1.41)
    assert levers["model.quantization"].saves > 5
    saved = levers["training.gradient_checkpointing"]
    changed = fit(apply(found.config, (saved.change,)), CARDS["A100-80"], facts=FACTS)
    assert found.estimate.device - changed.estimate.device == pytest.approx(saved.saves)


def test_checkpointing_only_where_memory_asks():
    assert fit(config(), find_card("H200"), facts=FACTS).config.training.gradient_checkpointing is False
    assert fit(config(), find_card("24GiB"), facts=FACTS).config.training.gradient_checkpointing is True


def test_resolve_uses_the_free_memory_of_the_gpu():
    def on(gib):
        gpus = (Gpu(0, "NVIDIA A100 80GB", 80.0, gib, (8, 0)),)
        return resolve(config(), hardware=Hardware(gpus=gpus), model_facts=FACTS)

    plenty, little = on(79.0), on(20.0)
    assert plenty.config.training.gradient_checkpointing is False
    assert little.config.training.gradient_checkpointing is True
    assert "memory" in little.why("training.gradient_checkpointing")


def test_larger_cards_take_what_smaller_ones_take():
    cards = which_cards(config(), facts=FACTS)
    assert [card.usable for card, _, _ in cards] == sorted(card.usable for card, _, _ in cards)
    assert not cards[0][1] and cards[-1][1]
