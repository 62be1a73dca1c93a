"""Lion, Muon, Schedule-Free, GaLore and APOLLO: what they step on, keep, and carry through a kill."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import MakeConfig, Trained
from tests.core.step.settled import make_settled
from tui_tuner.config.kinds.optimizers import OPTIMIZERS, explain_absence, require_optimizer
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import TrainingSection
from tui_tuner.errors import ConfigError
from tui_tuner.methods import attach
from tui_tuner.models.device import Device
from tui_tuner.models.facts import load_facts
from tui_tuner.planning.estimate import make_memory_setup
from tui_tuner.planning.gpus import find_local_card
from tui_tuner.planning.hardware import detect_hardware
from tui_tuner.planning.learning_rate import find_customary_rate
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.memory.static import count_optimizer_states, list_trained_tensors
from tui_tuner.planning.optimizer_states import round_up
from tui_tuner.training.keeping.checkpoints import list_checkpoints
from tui_tuner.training.step.low_rank import GaLore
from tui_tuner.training.step.optimizers import create_optimizer
from tui_tuner.training.step.states import States

CPU = Device("cpu")
Train = Callable[..., Trained]
NEW = ("lion", "muon", "schedule_free", "galore", "apollo")
needs_schedulefree = pytest.mark.skipif(
    importlib.util.find_spec("schedulefree") is None, reason="schedulefree is an optional extra"
)
EACH = [pytest.param(name, marks=needs_schedulefree) if name == "schedule_free" else name for name in NEW]
STEPS = ("step", "number")  # counters in host memory
CODES = ("qmap1", "qmap2")


def make_one(make_config: MakeConfig, name: str, kind: str = "full", **changes: Any) -> tuple[Any, Any, Any]:
    """Return config, model and optimizer."""
    method = {"kind": kind} | ({"layers": 1} if kind == "freeze" else {})
    config = make_settled(
        make_config, method=method, training__optimizer=name, training__learning_rate=0.01, **changes
    )
    model = attach(AutoModelForCausalLM.from_pretrained(config.model.name), config)
    return config, model, create_optimizer(model, config, CPU)


def give_gradients(model: Any, seed: int) -> None:
    torch.manual_seed(seed)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight) if weight.requires_grad else None


def measure_states(optimizer: Any) -> float:
    """Bytes of the states as an allocator of blocks hands them out, each storage once."""
    found = {}
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and name not in STEPS:
                storage = value.untyped_storage()
                found[storage.data_ptr()] = round_up(storage.nbytes())
    return sum(found.values())


def test_every_optimizer_of_the_schema_is_described() -> None:
    named = TrainingSection.model_fields["optimizer"].annotation
    assert all(f"'{name}'" in str(named) for name in OPTIMIZERS) and set(NEW) < set(OPTIMIZERS)


# ---- memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "lora", "freeze", "prompt_tuning"])
@pytest.mark.parametrize("name", [*EACH, "adamw", "adamw_8bit", "adafactor", "sgd"])
def test_the_estimate_of_states_is_exact(make_config: MakeConfig, name: str, kind: str) -> None:
    low = {"training__optimizer_rank": 4}
    if kind == "prompt_tuning" and OPTIMIZERS[name].for_matrices:
        with pytest.raises(ConfigError, match=name):
            make_one(make_config, name, kind, **low)
        return
    config, model, optimizer = make_one(make_config, name, kind, **low)
    give_gradients(model, 0)
    optimizer.step()
    card = find_local_card(config, dataclasses.replace(detect_hardware(), gpus=()))
    setup = make_memory_setup(config, load_facts(config.model), find_installed_stack(), card)
    assert sum(one.count * one.copies for one in list_trained_tensors(setup)) == sum(
        one.numel() for one in model.parameters() if one.requires_grad
    )
    assert measure_states(optimizer) == count_optimizer_states(setup)


def test_low_rank_states_are_far_smaller(make_config: MakeConfig) -> None:
    sizes = {}
    for name in ("adamw", "lion", "muon", "galore", "apollo"):
        _config, model, optimizer = make_one(make_config, name, training__optimizer_rank=4)
        give_gradients(model, 0)
        optimizer.step()
        sizes[name] = measure_states(optimizer)
    assert sizes["apollo"] < sizes["galore"] < sizes["lion"] < sizes["muon"] < sizes["adamw"]


# ---- steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_states_go_on_with_the_same_bits(
    make_config: MakeConfig, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    def make() -> tuple[Any, States]:
        config = make_settled(
            make_config,
            method={"kind": "full"},
            training__optimizer=name,
            training__optimizer_rank=4,
            training__optimizer_interval=3,
            training__weight_decay=0.1,
        )
        model = AutoModelForCausalLM.from_pretrained(config.model.name, dtype=dtype)
        optimizer = create_optimizer(model, config, CPU)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
        return model, States(optimizer, schedule, None)

    def take(model: Any, states: States, steps: range) -> None:
        for step in steps:
            give_gradients(model, step)
            states.optimizer.step()
            states.scheduler.step()

    whole, first = make(), make()
    take(*whole, range(7))
    take(*first, range(4))
    first[1].save_states(tmp_path)
    model, states = make()
    model.load_state_dict(first[0].state_dict())
    states.load_states(tmp_path, "cpu")
    take(model, states, range(4, 7))
    torch.testing.assert_close(model.state_dict(), whole[0].state_dict(), rtol=0, atol=0)


def test_muon_leaves_embeddings_head_norms_and_prompts_to_adamw(make_config: MakeConfig) -> None:
    _config, model, optimizer = make_one(make_config, "muon", training__weight_decay=0.1)
    names = {id(weight): name for name, weight in model.named_parameters()}
    muon, adamw = optimizer.parts
    taken = {names[id(one)] for group in muon.param_groups for one in group["params"]}
    others = {names[id(one)] for group in adamw.param_groups for one in group["params"]}
    assert taken and all(".layers." in name and "norm" not in name for name in taken)
    assert any("embed" in name for name in others) and any("norm" in name for name in others)
    assert taken | others == set(names.values()) and not taken & others
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]
    give_gradients(model, 0)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer.step()
    for name, weight in model.named_parameters():
        moved = (weight - before[name]).square().mean().sqrt()  # both step with about the rate
        assert 0.1 * 0.01 < moved.item() < 1.5 * 0.01, name


def test_lion_steps_by_the_sign(make_config: MakeConfig) -> None:
    _config, model, optimizer = make_one(make_config, "lion")
    weight = next(one for one in model.parameters() if one.dim() == 2)
    moment, expected = torch.zeros_like(weight), weight.detach().clone()
    for step in range(3):
        give_gradients(model, step)
        gradient = weight.grad.clone()
        optimizer.step()
        expected -= 0.01 * (0.9 * moment + 0.1 * gradient).sign()
        moment = 0.99 * moment + 0.01 * gradient
    torch.testing.assert_close(weight.detach(), expected)


def test_galore_with_all_directions_is_adamw_in_another_basis() -> None:
    """Compared with pytorch-optimizer's where that is installed; its steps for two shapes are kept here."""
    theirs = pytest.importorskip("pytorch_optimizer")
    for shape in ((24, 10), (10, 24)):
        torch.manual_seed(0)
        start = torch.randn(shape)
        own, other = (torch.nn.Parameter(start.clone()) for _number in range(2))
        group = {
            "params": [other],
            "rank": 4,
            "update_proj_gap": 1000,
            "scale": 2.0,
            "projection_type": "std",
        }
        pair = (
            GaLore([{"params": [own]}], 0.01, (0.9, 0.999), 4, 1000),
            theirs.GaLore([group], lr=0.01, eps=1e-8),
        )
        for _step in range(8):
            gradient = torch.randn(shape)
            own.grad, other.grad = gradient.clone(), gradient.clone()
            for optimizer in pair:
                optimizer.step()
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["galore", "apollo"])
def test_low_rank_steps_lower_a_loss(name: str, make_config: MakeConfig) -> None:
    from tui_tuner.training.step.low_rank import Apollo

    torch.manual_seed(0)
    goal, weight = torch.randn(20, 12), torch.nn.Parameter(torch.zeros(20, 12))
    kind = {"galore": GaLore, "apollo": Apollo}[name]
    optimizer = kind([{"params": [weight]}], 0.01, (0.9, 0.999), 3, 10)
    begin = float((weight - goal).square().mean())
    for _step in range(300):
        optimizer.zero_grad()
        (weight - goal).square().mean().backward()
        optimizer.step()
    assert float((weight - goal).square().mean()) < 0.3 * begin


def test_a_gradient_that_is_not_finite_keeps_the_directions() -> None:
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = GaLore([{"params": [weight]}], 0.01, (0.9, 0.999), 2, 1)
    weight.grad = torch.full((6, 4), math.nan)
    optimizer.step()  # no error from the eigenvectors: the loop says what is wrong
    assert torch.equal(optimizer.state[weight]["directions"], torch.eye(4, 2))


# ---- refused ----------------------------------------------------------------------------------------------


def test_a_missing_library_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain_absence("adamw") == "" == explain_absence("auto")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        require_optimizer("schedule_free")
    assert caught.value.field == "training.optimizer" and "schedulefree" in caught.value.what
    assert "pip install 'tui-tuner[optimizers]'" in caught.value.hint


def test_matrices_no_larger_than_the_rank_are_refused(make_config: MakeConfig) -> None:
    for name in ("galore", "apollo"):
        with pytest.raises(ConfigError, match="optimizer_rank 4096") as caught:
            make_one(make_config, name, training__optimizer_rank=4096)
        assert caught.value.field == "training.optimizer"


def test_the_form_says_what_is_missing_at_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.ui.form_values import find_draft_problems

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = find_draft_problems({"training": {"optimizer": "schedule_free"}}, {})
    assert list(found) == ["training.optimizer"] and "pip install" in found["training.optimizer"]
    assert not find_draft_problems({"training": {"optimizer": "muon"}}, {})


def test_the_usual_rate_follows_the_optimizer() -> None:
    def find_rate(name: str) -> Any:
        return find_customary_rate(RunConfig.model_validate({"training": {"optimizer": name}}))

    adamw, lion = find_rate("adamw"), find_rate("lion")
    assert adamw.rate / 10 <= lion.rate <= adamw.rate / 3 and "2302.06675" in lion.source
    assert lion.low == adamw.low / 10 and find_rate("auto") == adamw
    assert find_rate("muon").rate == adamw.rate and "2502.16982" in find_rate("muon").source
    assert adamw.rate < find_rate("schedule_free").rate <= 10 * adamw.rate


# ---- runs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_a_resumed_run_equals_one_that_was_not_stopped(
    make_config: MakeConfig, train: Train, name: str, tmp_path: Path
) -> None:
    config = make_config(
        method={"kind": "full"},
        training__optimizer=name,
        training__optimizer_rank=4,
        training__optimizer_interval=2,
        training__max_steps=6,
        training__warmup=0.3,
        evaluation__every=2,
        output__save_every=2,
        output__keep=9,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    expected = load_file(whole.folder.last_path / "model.safetensors")
    for checkpoint in list_checkpoints(whole.folder.checkpoints_path):
        if checkpoint.step > 2:
            shutil.rmtree(checkpoint.path)
    shutil.rmtree(whole.folder.last_path)
    again = train(config, resume=whole.folder)
    assert again.outcome.status == "completed", again.outcome
    assert set(again.steps()) == {3, 4, 5, 6}
    assert all(again.steps()[step] == whole.steps()[step] for step in again.steps())
    found = load_file(again.folder.last_path / "model.safetensors")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@needs_schedulefree
def test_schedule_free_saves_and_evaluates_the_average(make_config: MakeConfig, train: Train) -> None:
    config = make_config(
        method={"kind": "full"},
        training__optimizer="schedule_free",
        training__max_steps=4,
        training__warmup=0.0,
        evaluation__every=2,
        output__save_every=2,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    rates = {fields["learning_rate"] for fields in run.sink.of("step")}
    assert len(rates) == 1  # no schedule
    newest = max(list_checkpoints(run.folder.checkpoints_path), key=lambda one: one.step).path
    state = torch.load(newest / "optimizer.pt", weights_only=True)
    assert all(group["train_mode"] for group in state["param_groups"])
    trained = load_file(newest / "trained.safetensors")
    result = load_file(run.folder.last_path / "model.safetensors")
    name = next(name for name in trained if name.endswith("q_proj.weight"))
    _config, model, optimizer = make_one(make_config, "schedule_free")
    model.load_state_dict(trained, strict=False)
    optimizer.load_state_dict(state)
    with optimizer.show_average():
        average = dict(model.named_parameters())[name].detach().clone()
    assert torch.equal(result[name], average) and not torch.equal(result[name], trained[name])
    assert torch.equal(dict(model.named_parameters())[name], trained[name])
