"""What `auto` becomes."""

from __future__ import annotations

import pytest

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES
from tui_tuner.errors import HardwareError
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.changes import list_saving_changes
from tui_tuner.planning.gpus import find_gpu_card
from tui_tuner.planning.hardware import Gpu, Hardware, detect_hardware
from tui_tuner.planning.resolve import DataFacts, resolve_config
from tui_tuner.planning.speed.settings_choice import list_open_options

A100 = Hardware(gpus=(Gpu(0, "A100", 80.0, 79.0, (8, 0)),), cores=8, memory_gib=64, cpu_bf16=False)
T4 = Hardware(gpus=(Gpu(0, "T4", 15.0, 14.6, (7, 5)),), cores=2, memory_gib=12)
CPU = Hardware(cores=2, memory_gib=16, cpu_bf16=True)
OLD_CPU = Hardware(cores=2, memory_gib=16)


def config(**sections: dict) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_nothing_auto_is_left_that_training_needs():
    resolved = resolve_config(RunConfig(), hardware=CPU).config
    for value in (
        resolved.model.dtype,
        resolved.model.attention,
        resolved.data.packing,
        resolved.training.learning_rate,
        resolved.training.micro_batch,
        resolved.training.gradient_checkpointing,
        resolved.training.optimizer,
        resolved.training.autocast,
        resolved.evaluation.every,
        resolved.output.save_every,
        resolved.hardware.devices,
    ):
        assert value != "auto"


def test_every_choice_has_a_reason_and_what_the_user_set_stays():
    asked = config(
        model={"dtype": "float32"},
        training={"learning_rate": 1e-5, "micro_batch": 2},
        data={"packing": False},
    )
    resolved = resolve_config(asked, hardware=A100)
    assert resolved.config.model.dtype == "float32"
    assert resolved.config.training.learning_rate == 1e-5
    assert resolved.config.training.micro_batch == 2
    assert resolved.config.data.packing is False
    chosen = {reason.field for reason in resolved.reasons}
    assert not chosen & {"model.dtype", "training.learning_rate", "training.micro_batch", "data.packing"}
    assert all(reason.why.endswith(".") for reason in resolved.reasons)
    assert asked.training.gradient_checkpointing == "auto", "the asked config is not touched"


@pytest.mark.parametrize(
    ("hardware", "method", "quantization", "dtype", "autocast"),
    [
        (A100, "lora", "none", "bfloat16", True),
        (A100, "full", "none", "float32", True),
        (A100, "lora", "nf4", "bfloat16", True),
        (T4, "lora", "none", "float32", True),
        (T4, "lora", "nf4", "float16", True),
        (CPU, "lora", "none", "bfloat16", True),
        (OLD_CPU, "lora", "none", "float32", False),
    ],
)
def test_precision_follows_the_hardware(hardware, method, quantization, dtype, autocast):
    asked = config(method={"kind": method}, model={"quantization": quantization})
    resolved = resolve_config(asked, hardware=hardware).config
    assert (resolved.model.dtype, resolved.training.autocast) == (dtype, autocast)


def test_micro_batch_divides_the_batch():
    asked = config(training={"batch_size": 12}, data={"max_length": 800})
    resolved = resolve_config(asked, hardware=CPU).config.training
    assert resolved.micro_batch == 4 and 12 % resolved.micro_batch == 0


def test_long_sequences_still_get_a_micro_batch():
    resolved = resolve_config(config(data={"max_length": 100_000}), hardware=CPU).config
    assert resolved.training.micro_batch == 1


def test_asking_for_an_absent_gpu_is_an_error():
    with pytest.raises(HardwareError, match="2 GPUs, but 1 usable GPU found"):
        resolve_config(config(hardware={"devices": 2}), hardware=A100)
    with pytest.raises(HardwareError, match="Use cpu"):
        resolve_config(config(hardware={"devices": 1}), hardware=CPU)


def test_cpu_build_of_torch_hides_gpus():
    hidden = Hardware(gpus=A100.gpus, torch_cuda=False, notes=("CPU build.",))
    assert resolve_config(RunConfig(), hardware=hidden).config.hardware.devices == "cpu"


def test_evaluation_follows_the_length_of_the_run():
    asked = config(training={"epochs": 2, "batch_size": 10})
    resolved = resolve_config(asked, hardware=CPU, data_facts=DataFacts(rows=500)).config
    assert resolved.evaluation.every == 10
    assert resolved.output.save_every == 10
    short = resolve_config(asked, hardware=CPU, data_facts=DataFacts(rows=3)).config
    assert short.evaluation.every == 1
    assert resolve_config(config(data={"validation": None}), hardware=CPU).config.evaluation.every is None


def test_detect_describes_this_machine():
    found = detect_hardware()
    assert found.cores >= 1
    assert 0 < found.available_gib <= found.memory_gib
    assert found.describe_hardware()


@pytest.mark.parametrize(
    "kind", [name for name, kind in METHODS.items() if kind.has_trait(Trait.VIRTUAL_TOKENS)]
)
def test_methods_with_virtual_tokens_are_not_packed(kind):
    resolved = resolve_config(config(method={"kind": kind}), hardware=A100)
    assert resolved.config.data.packing is False
    reasons = {reason.field: reason.why for reason in resolved.reasons}
    assert "Virtual tokens" in reasons["data.packing"]
    assert ("lack the prefix" in reasons["training.gradient_checkpointing"]) == METHODS[kind].has_trait(
        Trait.PREFIX
    )


@pytest.mark.parametrize("kind", ["prefix_tuning", "prompt_tuning"])
def test_memory_never_makes_prefix_tuning_compute_activations_again(kind):
    facts = read_config_facts(find_catalog_config("mistralai/Mistral-7B-v0.1"))
    asked = config(method={"kind": kind}, data={"max_length": 8192}, training={"micro_batch": 1})
    base = resolve_config(asked, hardware=A100, model_facts=facts).config
    again = {option.degree for option in list_open_options(asked, base, find_gpu_card("A100-80"))}
    assert again == ({False} if kind == "prefix_tuning" else set(DEGREES))
    paths = {change.path for change in list_saving_changes(base)}
    assert not paths & {"data.packing", "method.rank"}
    assert ("training.gradient_checkpointing" in paths) == (kind != "prefix_tuning")
