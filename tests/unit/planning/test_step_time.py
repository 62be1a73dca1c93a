"""The time of a step as it is predicted, and what is chosen by it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from tui_tuner.config.sections.training import DEGREES
from tui_tuner.config.values import edit_values
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import count_run_work, estimate_duration
from tui_tuner.planning.estimate import make_memory_setup, resolve_for_card
from tui_tuner.planning.fit import fit_config_to_machine, fit_run
from tui_tuner.planning.gpus import CARDS
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack, parse_stack
from tui_tuner.planning.speed.layer_costs import LIBRARIES, compute_layer_cost
from tui_tuner.planning.speed.speed_rates import Rates
from tui_tuner.planning.speed.step_time import Clock, StepTime

from .test_fit import FACTS, config

H100 = CARDS["H100"]
STACK = find_installed_stack()
# What was trained on one H100: chats of 280 tokens in the mean, half of them trained on, 16 in a step
CHATS = DataFacts(1600, 1600 * 262, 1600 * 132, 1900)
RUNS = {
    "lora": {},
    "qlora": {"model": {"quantization": "nf4"}},
    "full": {"method": {"kind": "full"}},
    "freeze": {"method": {"kind": "freeze", "layers": 4}},
    "dora": {"method": {"kind": "dora"}},
    "prompts": {"method": {"kind": "prompt_tuning"}},
}


def clock(card=H100, data=CHATS, **sections) -> Clock:
    asked = config(**{"data": {"max_length": 2048}, **sections})
    made = resolve_for_card(asked, FACTS, card, STACK, data).config
    return Clock(made, make_memory_setup(made, FACTS, STACK, card, data), card, data)


def machine(free: float) -> Hardware:
    return Hardware(gpus=(Gpu(0, "NVIDIA H100 80GB HBM3", 80.0, free, (9, 0)),))


LORA = {"targets": frozenset(["all-linear"])}


def test_a_foreign_stack_computes_as_the_libraries_do():
    setup = Setup(FACTS, parse_stack("transformers==4.48.1"), 4, 1024, **LORA)
    assert compute_layer_cost(setup, 4096, 1024, True) == compute_layer_cost(
        setup, 4096, 1024, True, LIBRARIES
    )


# ---- what must hold of any prediction ------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("data", [CHATS, None], ids=["chats", "full rows"])
def test_nothing_better_is_ever_slower(run, data):
    base = H100.reached_rates
    for micro, degree in itertools.product((1, 4, 16), DEGREES):
        usual = clock(H100, data, **RUNS[run]).predict_step(micro, degree).seconds
        for name in ("launch", "products", "memory", "link"):
            better = getattr(base, name) * (0.5 if name == "launch" else 2.0)
            card = dataclasses.replace(H100, rates=dataclasses.replace(base, **{name: better}))
            assert clock(card, data, **RUNS[run]).predict_step(micro, degree).seconds <= usual


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("card", ["T4", "RTX 4090", "A100-80", "H100"])
def test_checkpointing_is_never_faster_and_larger_passes_never_slower(run, card):
    found = clock(CARDS[card], **RUNS[run])
    for micro in (1, 2, 8):
        times = [found.predict_step(micro, degree).seconds for degree in DEGREES]
        assert times == sorted(times)
        larger = [found.predict_step(2 * micro, degree).seconds for degree in DEGREES]
        assert all(more <= less + 1e-9 for more, less in zip(larger, times, strict=True))
        launches = [found.predict_step(micro, degree).launches for degree in DEGREES]
        assert launches == sorted(launches)


def test_cards_of_one_kind_are_as_fast_as_their_data_sheets_say():
    for smaller, larger in (
        ("L4", "L40S"),
        ("A100-40", "A100-80"),
        ("H100", "H200"),
        ("RTX 4070", "RTX 4090"),
    ):
        for run in RUNS.values():
            slow, fast = (
                clock(CARDS[name], **run).predict_step(4, True).seconds for name in (smaller, larger)
            )
            assert fast <= slow


def parts(found: StepTime) -> float:
    return found.products + found.moved + found.copies


@pytest.mark.parametrize("run", RUNS)
def test_no_step_beats_the_arithmetic_of_the_card(run):
    for degree in DEGREES:
        ticking = clock(**RUNS[run])
        made = edit_values(ticking.config, {"training.gradient_checkpointing": degree})
        found = ticking.predict_step(4, degree)
        assert found.seconds >= max(found.device, found.host) * (1 - 1e-9) or found.passes > 1
        assert parts(found) == pytest.approx(found.device)
        work = count_run_work(made, FACTS, CHATS)
        assert found.seconds > work.flops / work.steps / (H100.tflops * 1e12)


def test_what_was_measured_on_one_gpu_is_near():
    """TRL with packing and Liger's kernels took 0.74 s for such a step, and Unsloth 0.89 s."""
    found = clock().predict_step(8, True)
    assert found.passes == 1
    assert 0.2 < found.seconds < 0.74
    libraries = clock(data=CHATS).setup
    eager = dataclasses.replace(libraries, stack=parse_stack("transformers==4.48.1"))
    slow = Clock(clock().config, eager, H100, CHATS).predict_step(8, True)
    assert found.seconds < slow.seconds < 1.0


def test_what_is_computed_again_costs_what_it_cost_on_a_processor():
    """1.41 times was measured there: three passes instead of two, and what is outside of the layers."""
    found = clock()
    off, half, on, away = (found.predict_step(4, degree).seconds for degree in DEGREES)
    assert 1.25 < on / off < 1.5
    assert half == pytest.approx((off + on) / 2, rel=0.01)
    assert away == pytest.approx(on), "copies hide behind what is computed"
    slow = dataclasses.replace(H100, rates=dataclasses.replace(H100.reached_rates, link=1e9))
    assert clock(slow).predict_step(4, "offload").seconds > clock(slow).predict_step(4, True).seconds


def test_a_slow_host_is_what_is_waited_for():
    slow = dataclasses.replace(H100, rates=dataclasses.replace(H100.reached_rates, launch=1e-4))
    waiting, filled = clock(slow).predict_step(16, False), clock(data=None).predict_step(16, False)
    assert waiting.host > waiting.device and not filled.host > filled.device
    many, few = (clock(slow, **RUNS["dora"]).predict_step(micro, False).seconds for micro in (1, 16))
    assert many > 2.5 * few, "each pass launches everything anew"


def test_frozen_layers_are_only_gone_through_once():
    top, all_layers = (
        clock(method={"kind": "lora", "layers": n}).predict_step(4, True).seconds for n in (4, None)
    )
    assert top < all_layers / 2


def test_numbers_of_32_bits_take_longer():
    narrow, wide = (
        clock(method={"kind": "full"}, model={"dtype": d}, training={"autocast": False})
        for d in ("bfloat16", "float32")
    )
    assert wide.predict_step(4, False).seconds > 4 * narrow.predict_step(4, False).seconds
    quick = clock(
        method={"kind": "full"}, model={"dtype": "float32"}, training={"autocast": False, "tf32": True}
    )
    assert (
        narrow.predict_step(4, False).seconds
        < quick.predict_step(4, False).seconds
        < wide.predict_step(4, False).seconds
    )


# ---- what is chosen by it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "degree"), [(79.0, False), (35.0, "every_second"), (17.0, True)], ids=["80", "35", "17"]
)
def test_qlora_takes_the_fastest_that_fits(free, degree):
    asked = config(model={"quantization": "nf4"}, data={"max_length": 2048}, training={"micro_batch": 4})
    done = fit_config_to_machine(asked, hardware=machine(free), model_facts=FACTS, data_facts=CHATS)
    assert done.config.training.gradient_checkpointing == degree
    why = done.explain_field("training.gradient_checkpointing")
    assert "per step predicted" in why
    assert ("do not fit" in why) == (degree is not False)


def test_the_next_best_is_named_with_its_time():
    done = fit_config_to_machine(config(), hardware=machine(79.0), model_facts=FACTS, data_facts=CHATS)
    why = done.explain_field("training.micro_batch")
    assert "The next best, micro-batch" in why and "per step predicted" in why
    only = fit_config_to_machine(
        config(training={"gradient_checkpointing": True, "optimizer": "adamw", "batch_size": 1}),
        hardware=machine(79.0),
        model_facts=FACTS,
        data_facts=CHATS,
    )
    assert "next best" not in only.explain_field("training.micro_batch")


def test_what_is_chosen_is_the_fastest_of_all_that_fit():
    for name in ("RTX 4090", "A40", "A100-80"):
        card = CARDS[name]
        found = fit_run(config(), card, facts=FACTS, data=CHATS)
        chosen = found.config.training
        made = Clock(found.config, make_memory_setup(found.config, FACTS, STACK, card, CHATS), card, CHATS)
        best = made.predict_step(chosen.micro_batch, chosen.gradient_checkpointing).seconds
        assert found.fits and chosen.optimizer == "adamw"
        for micro, degree in itertools.product((1, 2, 4, 8, 16), DEGREES):
            if made.predict_step(micro, degree).seconds < best * 0.96:
                training = {"micro_batch": micro, "gradient_checkpointing": degree, "optimizer": "adamw"}
                assert not fit_run(config(training=training), card, facts=FACTS, data=CHATS).fits


def test_larger_passes_win_where_launches_cost():
    """Computing again is worth it where it lets more tokens into a pass, and the processor is slow."""
    asked = config(data={"max_length": 1024}, training={"batch_size": 32})
    usual = fit_config_to_machine(asked, hardware=machine(34.0), model_facts=FACTS)
    slow = dataclasses.replace(H100.reached_rates, launch=4e-4)
    found = fit_config_to_machine(asked, hardware=machine(34.0), model_facts=FACTS, rates=slow)
    assert usual.config.training.gradient_checkpointing in (False, "every_second")
    assert found.config.training.gradient_checkpointing is True
    assert found.config.training.micro_batch > usual.config.training.micro_batch
    assert "as less fits into a pass" in found.explain_field("training.gradient_checkpointing")


def test_levers_name_each_degree_with_what_it_saves_and_costs():
    asked = config(training={"micro_batch": 8, "gradient_checkpointing": False})
    levers = [
        lever
        for lever in fit_run(asked, CARDS["A100-80"], facts=FACTS).levers
        if lever.change.path == "training.gradient_checkpointing"
    ]
    assert [lever.change.value for lever in levers] == list(DEGREES[1:])
    assert [lever.saves for lever in levers] == sorted(lever.saves for lever in levers)
    assert [lever.time for lever in levers] == sorted(lever.time for lever in levers)


def test_a_duration_follows_from_the_time_of_a_step():
    asked = config(data={"max_length": 2048})
    made = fit_run(asked, H100, facts=FACTS, data=CHATS).config
    found = estimate_duration(made, FACTS, CHATS, card=H100)
    step = Clock(made, make_memory_setup(made, FACTS, STACK, H100, CHATS), H100, CHATS)
    one = step.predict_step(made.training.micro_batch, made.training.gradient_checkpointing).seconds
    assert found.seconds == pytest.approx(one * found.work.steps)
    assert found.low < found.seconds < found.high and "data sheet" in found.basis
    card = dataclasses.replace(H100, rates=Rates(1e-5, 6e14, 3e12, 5e10, measured=True))
    assert "measured here" in estimate_duration(made, FACTS, CHATS, card=card).basis
    half = estimate_duration(edit_values(made, {"hardware.devices": 2}), FACTS, CHATS, card=H100)
    assert found.seconds / 2.2 < half.seconds < found.seconds
