"""Fitting a run into a card."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.call_counting import count_calls
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.changes import apply_saving_changes
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.fit import fit_config_to_machine, fit_run, rank_cards
from tui_tuner.planning.gpus import CARDS, find_gpu_card
from tui_tuner.planning.hardware import Gpu, Hardware

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
FACTS = read_config_facts(LLAMA_8B)


def config(**sections):
    return RunConfig.model_validate(sections)


@pytest.mark.parametrize("name", CARDS)
def test_what_is_said_to_fit_fits_with_its_margin(name):
    found = fit_run(config(model={"quantization": "nf4"}), CARDS[name], facts=FACTS)
    assert found.fits == (found.estimate.safe_limit <= found.card.usable)
    assert found.config.training.micro_batch != "auto"
    assert found.describe_fit()


def test_pinned_settings_are_never_changed():
    asked = config(training={"micro_batch": 8, "gradient_checkpointing": False, "optimizer": "adamw"})
    found = fit_run(asked, find_gpu_card("T4"), facts=FACTS)
    assert not found.fits
    chosen = found.config.training
    assert (chosen.micro_batch, chosen.gradient_checkpointing, chosen.optimizer) == (8, False, "adamw")


def test_the_smallest_change_does_make_it_fit():
    asked = config(training={"micro_batch": 4, "gradient_checkpointing": False})
    found = fit_run(asked, find_gpu_card("RTX 4090"), facts=FACTS)
    assert not found.fits and found.smallest
    again = fit_run(
        apply_saving_changes(found.config, found.smallest), find_gpu_card("RTX 4090"), facts=FACTS
    )
    assert again.fits
    assert found.smallest[0].label in found.describe_fit()


def test_nothing_helps_a_hopeless_case():
    found = fit_run(
        config(method={"kind": "full"}, model={"architecture": LLAMA_8B}), find_gpu_card("T4"), facts=FACTS
    )
    assert not found.fits and not found.smallest
    assert "larger GPU" in found.describe_fit()


def test_levers_say_what_they_save():
    found = fit_run(
        config(training={"micro_batch": 8, "gradient_checkpointing": False}), CARDS["A100-80"], facts=FACTS
    )
    levers = {(lever.change.path, lever.change.value): lever for lever in found.levers}
    saved = levers["training.gradient_checkpointing", True]
    assert saved.saves > 5 and 1.25 < saved.time < 1.5
    assert levers["model.quantization", "nf4"].saves > 5
    changed = fit_run(apply_saving_changes(found.config, (saved.change,)), CARDS["A100-80"], facts=FACTS)
    assert found.estimate.device - changed.estimate.device == pytest.approx(saved.saves)


def test_checkpointing_only_where_memory_asks():
    assert (
        fit_run(config(), find_gpu_card("H200"), facts=FACTS).config.training.gradient_checkpointing is False
    )
    few = config(training={"micro_batch": 4})
    assert fit_run(few, find_gpu_card("24GiB"), facts=FACTS).config.training.gradient_checkpointing is True


def test_settings_use_the_free_memory_of_the_gpu():
    def on(gib):
        gpus = (Gpu(0, "NVIDIA A100 80GB", 80.0, gib, (8, 0)),)
        return fit_config_to_machine(config(), hardware=Hardware(gpus=gpus), model_facts=FACTS)

    plenty, little = on(79.0), on(20.0)
    assert plenty.config.training.gradient_checkpointing is False
    assert little.config.training.gradient_checkpointing is True
    assert "memory" in little.explain_field("training.gradient_checkpointing")


def test_larger_cards_take_what_smaller_ones_take():
    cards = [one for one in rank_cards(config(), facts=FACTS) if one.count == 1]
    assert len(cards) == len(CARDS)
    assert [one.card.usable for one in cards] == sorted(one.card.usable for one in cards)
    assert not cards[0].fits and cards[-1].fits


def test_every_card_of_the_table_is_what_it_is_alone():
    for one in rank_cards(config(), facts=FACTS):
        if one.count == 1:
            alone = fit_run(config(), one.card, facts=FACTS)
            assert (one.fits, one.estimate.safe_limit) == (alone.fits, alone.estimate.safe_limit)
            assert one.config.training == alone.config.training


def test_several_gpus_save_no_memory():
    found = {(one.card.name, one.count): one for one in rank_cards(config(), facts=FACTS)}
    one, two = found["H200", 1], found["H200", 2]
    assert two.config.training.micro_batch * 2 <= 16
    assert two.estimate.device > one.estimate.device / 2
    assert not two.estimate.verified and "several" in two.estimate.reason
    assert ("RTX 3080", 2) not in found
    assert sum(row.gib for row in two.estimate.rows) == pytest.approx(two.estimate.device)


def test_the_table_takes_little_work():
    """About 2.6 million calls, 0.8 s of an old server's core; a form waits for it."""
    assert count_calls(lambda: list(rank_cards(config(), facts=FACTS))) < 4_000_000


def test_a_plain_optimizer_comes_before_fast_settings():
    for gib in range(6, 90, 3):
        card = find_gpu_card(f"{gib}GiB")
        found = fit_run(config(model={"quantization": "nf4"}), card, facts=FACTS)
        if not found.fits or found.config.training.optimizer == "adamw":
            continue
        for degree in DEGREES:
            plain = {"micro_batch": 1, "gradient_checkpointing": degree, "optimizer": "adamw"}
            assert not fit_run(config(model={"quantization": "nf4"}, training=plain), card, facts=FACTS).fits


def test_a_processor_fits_into_its_memory():
    def on(gib):
        here = Hardware(memory_gib=64, available_gib=gib, cpu_bf16=True)
        return fit_config_to_machine(config(), hardware=here, model_facts=FACTS)

    plenty, little = on(60), on(22)
    assert plenty.config.training.gradient_checkpointing is False
    assert little.config.training.gradient_checkpointing is True
    assert "machine's memory" in little.explain_field("training.gradient_checkpointing")
    assert little.config.training.optimizer == "adamw"  # 8-bit states are for GPUs


def test_a_sample_of_the_rows_does_not_shrink_the_fullest_batch():
    card = CARDS["A100-80"]
    asked = config(training={"micro_batch": 4, "gradient_checkpointing": False})
    full = fit_run(asked, card, facts=FACTS)
    sampled = fit_run(asked, card, facts=FACTS, data=DataFacts(1000, 100_000, 50_000, 300))
    assert sampled.estimate.allocated == full.estimate.allocated
    short = DataFacts(1000, 100_000, 50_000, 120, heaviest=(120,) * 1000, most_trained=(60,) * 1000)
    exact = fit_run(asked, card, facts=FACTS, data=short)
    assert exact.estimate.allocated < 0.75 * full.estimate.allocated  # 16 rows of 120 tokens fill no 4,096


@pytest.mark.parametrize("batch", [2, 8])
def test_a_step_in_one_pass_fits_where_gradients_added_up_do_not(batch):
    asked = config(
        method={"kind": "full"},
        training={"batch_size": batch, "optimizer": "adamw_8bit"},
        data={"max_length": 512},
    )
    card = replace(CARDS["H100"], total=94.0, usable=93.2)  # the H100 NVL
    found = fit_run(asked, card, facts=FACTS)
    assert found.fits and found.config.training.micro_batch == batch
    halves = asked.training.model_copy(update={"micro_batch": batch // 2})
    assert not fit_run(asked.model_copy(update={"training": halves}), card, facts=FACTS).fits
