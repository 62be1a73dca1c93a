"""Learning rates, duration, advice, catalogue."""

from __future__ import annotations

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.catalog import find_catalog_config, list_catalog_entries, list_catalog_names
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import compute_run_price, correct_duration, count_run_work, estimate_duration
from tui_tuner.planning.gpus import find_gpu_card
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.learning_rate import apply_rate_rules, apply_square_root_rule, find_customary_rate
from tui_tuner.planning.plan import plan_run
from tui_tuner.planning.traps.advice import list_trap_findings

MISTRAL = read_config_facts(find_catalog_config("mistralai/Mistral-7B-v0.1"), "mistralai/Mistral-7B-v0.1")


def config(**sections):
    return RunConfig.model_validate(sections)


def test_the_worked_example_of_the_square_root_rule():
    assert apply_square_root_rule(5e-5, 2_000_000 / 350, 4e6) == pytest.approx(1.89e-6, rel=1e-3)
    data = DataFacts(rows=5600, tokens=3_000_000, supervised=2_000_000)
    asked = config(training={"batch_size": 16, "epochs": 3})
    found = {rule.name: rule for rule in apply_rate_rules(asked, MISTRAL, data)}
    assert found["square root of the batch"].rate == pytest.approx(1.89e-6, rel=1e-3)
    with pytest.raises(ValueError, match="above zero"):
        apply_square_root_rule(5e-5, 0, 4e6)


def test_rules_made_for_matrices_are_not_shown_for_virtual_tokens():
    found = {rule.name for rule in apply_rate_rules(config(method={"kind": "prompt_tuning"}), MISTRAL)}
    assert "LoRA against full" not in found and "linear in the batch" not in found


def test_rules_that_lack_an_input_say_which():
    found = {rule.name: rule for rule in apply_rate_rules(config())}
    assert found["square root of the batch"].rate is None
    assert "pretraining" in found["square root of the batch"].missing
    assert found["usual for the method"].rate == 2e-4
    assert all(rule.source or rule.missing for rule in found.values())


def test_lora_is_ten_times_full():
    lora = {rule.name: rule.rate for rule in apply_rate_rules(config())}
    full = {rule.name: rule.rate for rule in apply_rate_rules(config(method={"kind": "full"}))}
    assert lora["LoRA against full"] == pytest.approx(10 * full["LoRA against full"])
    assert lora["linear in the batch"] == pytest.approx(2e-4)
    assert full["linear in the batch"] == pytest.approx(2e-5 / 8)


@pytest.mark.parametrize(
    ("parameters", "rate"), [(10_000_000, 1e-3), (125_000_000, 6e-4), (1_300_000_000, 2e-4), (10**12, 6e-5)]
)
def test_from_scratch_follows_the_size(parameters, rate):
    shape = {"model_type": "llama"}
    asked = config(task="pretraining", model={"architecture": shape}, method={"kind": "full"})
    assert find_customary_rate(asked, parameters).rate == pytest.approx(rate)


def test_work_is_counted_as_the_formula_says():
    data = DataFacts(rows=100, tokens=50_000, supervised=20_000)
    full = count_run_work(
        config(method={"kind": "full"}, training={"epochs": 2, "batch_size": 10}), MISTRAL, data
    )
    assert full.steps == 20 and full.tokens == 100_000 and full.supervised == 40_000
    layers = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    head, attention = 32000 * 4096, 32 * 4096 * 500
    assert full.flops == pytest.approx(6 * (layers + attention) * 100_000 + 6 * head * 40_000)
    lora = count_run_work(config(training={"epochs": 2, "batch_size": 10}), MISTRAL, data)
    frozen = (4 * layers + 6 * attention) * 100_000 + 4 * head * 40_000
    assert frozen < lora.flops < 1.01 * frozen
    prompt = count_run_work(
        config(
            method={"kind": "prompt_tuning", "virtual_tokens": 50}, training={"epochs": 2, "batch_size": 10}
        ),
        MISTRAL,
        data,
    )
    assert prompt.tokens == lora.tokens
    longer = 4 * layers * 110_000 + 6 * 32 * 4096 * 550 * 110_000 + 4 * head * 40_000
    assert prompt.flops == pytest.approx(longer)


def test_time_and_money():
    data = DataFacts(rows=1000, tokens=500_000)
    asked = config(hardware={"price_per_hour": 2.0})
    guess = estimate_duration(asked, MISTRAL, data, card=find_gpu_card("A100"))
    assert guess.low < guess.seconds < guess.high
    assert guess.cost == pytest.approx(guess.seconds / 3600 * 2)
    measured = estimate_duration(asked, MISTRAL, data, tokens_per_second=1000)
    assert measured.seconds == pytest.approx(measured.work.tokens / 1000)
    assert estimate_duration(asked, MISTRAL, data).seconds is None


def test_a_run_corrects_its_own_time():
    early, late = correct_duration(100, 5, 40.0, 3.0, 3), correct_duration(100, 60, 200.0, 3.0, 58)
    assert early.seconds == pytest.approx(40 + 95 * 3) and late.seconds == pytest.approx(200 + 40 * 3)
    assert early.low < early.seconds < early.high
    assert late.high - late.low < early.high - early.low
    assert correct_duration(100, 100, 300.0, 3.0, 98).high == pytest.approx(300)
    asked = config(hardware={"price_per_hour": 2.0})
    assert compute_run_price(asked, 1800) == pytest.approx(1.0) and compute_run_price(config(), 1800) is None


TRAPS = [
    ({"method": {"alpha": 512}}, None, "lora_scale"),
    ({"method": {"kind": "rslora", "alpha": 64}}, None, "rslora_scale"),
    ({"method": {"rank": 512, "alpha": 512}}, None, "high_rank"),
    ({"method": {"kind": "full"}, "model": {"dtype": "float16"}}, None, "float16_weights"),
    ({"method": {"kind": "full"}, "model": {"dtype": "bfloat16"}}, None, "bfloat16_weights"),
    ({"training": {"learning_rate": 0.1}}, None, "learning_rate"),
    ({"training": {"learning_rate": 1e-8}}, None, "learning_rate"),
    ({"data": {"max_length": 100_000}}, None, "too_long"),
    ({"data": {"max_length": 32_760}, "method": {"kind": "prompt_tuning"}}, None, "too_long"),
    ({"method": {"kind": "ia3", "rank": 32, "virtual_tokens": 8}}, None, "unread_fields"),
    ({"method": {"kind": "prompt_tuning", "dropout": 0.1}}, None, "unread_fields"),
    ({"method": {"kind": "full", "layers": 2}}, None, "unread_fields"),
    ({"task": "question_answering", "training": {"loss": "full_logits"}}, None, "unread_by_task"),
    ({"evaluation": {"null_threshold": 1.5}, "data": {"stride": 64}}, None, "unread_by_task"),
    ({"data": {"packing": False, "max_length": 4096}}, DataFacts(1000, longest=100), "long_for_data"),
    (
        {"task": "seq2seq", "data": {"max_source": 512, "max_target": 128}},
        DataFacts(1000, longest=110, longest_source=60),
        "long_for_data",
    ),
    ({"training": {"loss": "full_logits", "micro_batch": 16}}, None, "logits"),
    ({}, DataFacts(20), "few_rows"),
    ({"training": {"batch_size": 64}}, DataFacts(60), "batch_over_rows"),
    ({"training": {"epochs": 1}}, DataFacts(100), "few_steps"),
    ({"model": {"dtype": "float16"}}, None, "float16"),
    ({"training": {"warmup": 1.0}}, DataFacts(1000), "warmup"),
    ({"evaluation": {"early_stopping": 2}}, DataFacts(1000, validation_rows=3), "few_held_out"),
    ({"training": {"batch_size": 64, "micro_batch": 64}}, DataFacts(60), "batch_over_rows"),
    ({"training": {"learning_rate": 2e-5}}, None, "learning_rate"),  # that of full fine-tuning
    ({"training": {"weight_decay": 1.0}}, None, "weight_decay"),
    ({"training": {"epochs": 100}}, None, "many_epochs"),
    ({"training": {"warmup": 0.5}}, None, "warmup"),
    ({"evaluation": {"every": 1}}, DataFacts(1000, validation_rows=500), "costly_evaluation"),
    ({"method": {"targets": ["q_prj", "v_proj"]}}, None, "no_such_target"),
    ({"method": {"layers": 99}}, None, "more_layers_than_there_are"),
    ({"training": {"compile": True}}, DataFacts(1000), "compiling"),
]


@pytest.mark.parametrize(("sections", "data", "code"), TRAPS)
def test_traps_are_named_and_their_fix_removes_them(sections, data, code):
    asked = config(**sections)
    found = {advice.code: advice for advice in list_trap_findings(asked, MISTRAL, data)}
    assert code in found
    assert found[code].text and found[code].reason
    if found[code].fix:
        values = asked.model_dump()
        for path, value in found[code].fix.items():
            assert path in list_options()
            section, _, name = path.partition(".")
            values[section][name] = value
        again = {advice.code for advice in list_trap_findings(build_config(values), MISTRAL, data)}
        assert code not in again or code == "few_held_out"


def test_float16_for_a_bfloat16_model():
    facts = read_config_facts({**find_catalog_config("mistralai/Mistral-7B-v0.1"), "torch_dtype": "bfloat16"})
    codes = [advice.code for advice in list_trap_findings(config(model={"dtype": "float16"}), facts)]
    assert codes[0] == "float16"


def test_a_budget_that_will_not_do_is_said_beforehand():
    data = DataFacts(1000, tokens=500_000)

    def found(budget):
        hardware = {"price_per_hour": 2.0, "budget": budget}
        asked = config(hardware=hardware)
        here = Hardware(memory_gib=8.0, available_gib=8.0)
        planned = plan_run(asked, hardware=here, card="A100", facts=MISTRAL, data=data)
        return planned, [advice for advice in planned.advice if advice.code == "budget"]

    planned, advice = found(0.05)
    assert advice[0].serious and f"{planned.duration.cost:.2f}" in advice[0].text
    assert not found(advice[0].fix["hardware.budget"])[1]
    assert not found((planned.duration.cost + planned.duration.cost_high) / 2)[1][0].serious


def test_a_sound_config_has_no_advice():
    data = DataFacts(5000, tokens=1_000_000, supervised=500_000, longest=900, validation_rows=250)
    assert list_trap_findings(config(), MISTRAL, data) == []


def test_catalogue_sizes_are_the_published_ones():
    assert len(list_catalog_names()) == len(set(list_catalog_names())) > 80
    for entry in list_catalog_entries():
        facts = read_config_facts(entry.config, entry.ids[0])
        assert facts.verified
        if entry.parameters is not None:
            assert facts.parameters == entry.parameters, entry.ids[0]
    assert find_catalog_config("QWEN/qwen3-0.6b") is not None
    assert find_catalog_config("nobody/nothing") is None


def test_a_plan_has_all_of_it():
    data = DataFacts(1000, tokens=200_000, supervised=90_000, longest=700, validation_rows=50)
    found = plan_run(config(), hardware=Hardware(), card="T4", facts=MISTRAL, data=data)
    assert not found.fit.fits and found.fit.smallest
    assert found.duration is not None and found.duration.seconds
    assert found.rules and found.resolved.reasons
    here = plan_run(config(), hardware=Hardware(memory_gib=64.0, available_gib=60.0), facts=MISTRAL)
    assert here.fit.card.cpu and here.fit.fits and not here.fit.estimate.verified
    assert not any("8bit" in str(lever.change.value) for lever in here.fit.levers)
