"""What follows from a device: dtypes, autocast, loss scaler, attention, kernels, optimizers; as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tui_tuner.compute import numeric
from tui_tuner.config.load import build_config
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, HardwareError
from tui_tuner.models import device as devices
from tui_tuner.models.device import Device, find_device
from tui_tuner.planning.gpus import CARDS
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.planning.resolve import resolve_config


def _gpu(name: str, capability: tuple[int, int]) -> Device:
    return Device("cuda", name=name, capability=capability, has_flash=True)


V100 = _gpu("V100", (7, 0))
T4 = _gpu("T4", (7, 5))
A100 = _gpu("A100", (8, 0))
RTX4090 = _gpu("RTX 4090", (8, 9))
H100 = _gpu("H100", (9, 0))
OLD_CPU = Device("cpu", name="an old CPU")
CPU = Device("cpu", name="a new CPU", cpu_bf16=True)
BEFORE_AMPERE, AMPERE, PROCESSORS = (V100, T4), (A100, RTX4090, H100), (OLD_CPU, CPU)
EVERY = (*PROCESSORS, *BEFORE_AMPERE, *AMPERE)


def resolved(device: Device, **values: Any) -> ResolvedConfig:
    """A config settled on a machine with that device; `model__dtype` is `model.dtype`."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, field = name.partition("__")
        sections.setdefault(section, {})[field] = value
    return resolve_config(RunConfig.model_validate(sections), hardware=machine(device)).config


def machine(device: Device) -> Hardware:
    gpus = (Gpu(0, device.name, 24.0, 23.0, device.capability),) if device.kind == "cuda" else ()
    return Hardware(gpus=gpus, cpu=device.name, cores=4, memory_gib=32.0, cpu_bf16=device.cpu_bf16)


def test_bfloat16_is_what_the_hardware_computes() -> None:
    assert [device.has_bf16 for device in EVERY] == [False, True, False, False, True, True, True]


# What `auto` becomes: dtype and autocast; then what products are in, and whether the loss is scaled

LORA, QLORA, FULL = {}, {"model__quantization": "nf4"}, {"method__kind": "full"}
INT8 = {"model__quantization": "int8"}


@pytest.mark.parametrize(
    ("devices", "asked", "dtype", "autocast", "products", "scaler"),
    [
        ((OLD_CPU,), LORA, "float32", False, "float32", False),
        ((OLD_CPU,), QLORA, "float32", False, "float32", False),
        ((OLD_CPU,), FULL, "float32", False, "float32", False),
        ((CPU,), LORA, "bfloat16", True, "bfloat16", False),
        ((CPU,), QLORA, "bfloat16", True, "bfloat16", False),
        ((CPU,), FULL, "float32", True, "bfloat16", False),
        (BEFORE_AMPERE, LORA, "float32", True, "float16", True),
        (BEFORE_AMPERE, QLORA, "float16", True, "float16", True),
        (BEFORE_AMPERE, INT8, "float16", True, "float16", True),
        (BEFORE_AMPERE, FULL, "float32", True, "float16", True),
        (AMPERE, LORA, "bfloat16", True, "bfloat16", False),
        (AMPERE, QLORA, "bfloat16", True, "bfloat16", False),
        (AMPERE, INT8, "bfloat16", True, "bfloat16", False),
        (AMPERE, FULL, "float32", True, "bfloat16", False),
    ],
)
def test_auto_follows_the_device(devices, asked, dtype, autocast, products, scaler) -> None:
    for device in devices:
        config = resolved(device, **asked)
        assert (config.model.dtype, config.training.autocast) == (dtype, autocast), device.name
        assert numeric.find_compute_dtype(device, config) == products, device.name
        assert numeric.needs_scaler(device, config) is scaler, device.name


# What the user set: products and scaler for each dtype, with and without autocast

SET = ("bfloat16", True), ("float16", True), ("float32", True), ("bfloat16", False), ("float16", False)
TABLE = {
    PROCESSORS: [("bfloat16", False), ("float16", False), ("bfloat16", False)],
    BEFORE_AMPERE: [("float16", True), ("float16", True), ("float16", True)],
    AMPERE: [("bfloat16", False), ("float16", True), ("bfloat16", False)],
}


@pytest.mark.parametrize("devices", TABLE)
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_what_is_set_is_kept_and_float16_autocast_on_a_gpu_is_always_scaled(devices, quantization) -> None:
    without = [("bfloat16", False), ("float16", False)]
    for device in devices:
        found = []
        for dtype, autocast in SET:
            config = resolved(
                device, model__dtype=dtype, model__quantization=quantization, training__autocast=autocast
            )
            assert (config.model.dtype, config.training.autocast) == (dtype, autocast)
            found.append((numeric.find_compute_dtype(device, config), numeric.needs_scaler(device, config)))
            numeric.check_numeric_dtypes(device, config)
        assert found == TABLE[devices] + without, device.name


def test_small_models_stay_in_float32() -> None:
    for device in EVERY:
        assert numeric.choose_weight_dtype(device, RunConfig(), True)[0] == "float32"
        assert numeric.choose_autocast(device, RunConfig(), True)[0] is False


# Attention


def test_auto_never_takes_the_flash_attention_package() -> None:
    for device in EVERY:
        assert resolved(device).model.attention == "sdpa", device.name
    assert numeric.choose_attention(True, "gemma2")[0] == "eager"
    with_flash = Hardware(gpus=machine(H100).gpus, flash_attention=True)
    assert with_flash.compute_devices[0].can_use_flash
    assert resolve_config(RunConfig(), hardware=with_flash).config.model.attention == "sdpa"


def test_flash_attention_that_is_asked_for_gets_16_bit_numbers_or_an_error() -> None:
    # small models and full fine-tuning have float32 weights: autocast makes their products 16-bit
    asked = build_config({"model": {"attention": "flash_attention_2", "dtype": "float32"}})
    assert numeric.choose_autocast(H100, asked, True)[0] is True
    full = resolved(H100, model__attention="flash_attention_2", method__kind="full")
    numeric.check_numeric_dtypes(H100, full)
    with pytest.raises(ConfigError, match="requires 16-bit numbers"):
        build_config(
            {
                "model": {"attention": "flash_attention_2", "dtype": "float32"},
                "training": {"autocast": False},
            }
        )
    for device in (*PROCESSORS, *BEFORE_AMPERE):
        config = resolved(device, model__attention="flash_attention_2")
        with pytest.raises(ConfigError, match=f"this is {device.name}"):
            numeric.check_numeric_dtypes(device, config)


# Matrix products


def test_tensorfloat_where_it_is_asked_for_and_is_there() -> None:
    asked = RunConfig.model_validate({"training": {"tf32": True}})
    assert [numeric.choose_matmul_precision(device, asked) for device in EVERY] == ["highest"] * 4 + [
        "high"
    ] * 3
    assert {numeric.choose_matmul_precision(device, RunConfig()) for device in EVERY} == {"highest"}


def test_trained_float16_weights_are_refused_where_the_loss_is_scaled() -> None:
    full = {"model__dtype": "float16", "method__kind": "full", "training__autocast": True}
    embeddings = {"model__dtype": "float16", "method__train_embeddings": True}
    for device in (T4, A100):
        for asked in (full, embeddings):
            with pytest.raises(ConfigError, match="cannot be trained in mixed precision"):
                numeric.check_numeric_dtypes(device, resolved(device, **asked))
        numeric.check_numeric_dtypes(device, resolved(device, model__dtype="float16"))  # float32 adapters
    numeric.check_numeric_dtypes(CPU, resolved(CPU, **full))


# The device itself


def test_a_machine_gives_the_facts_of_its_devices() -> None:
    found = Hardware(
        gpus=(Gpu(3, "A100", 80.0, 79.0, (8, 0), "GPU-a"), Gpu(1, "T4", 15.0, 14.0, (7, 5), "GPU-b")),
        cpu="a CPU",
        memory_gib=64.0,
        cpu_bf16=True,
    )
    assert [device.torch_name for device in found.compute_devices] == ["cuda:0", "cuda:1", "cpu"]
    assert (
        found.compute_devices[0].uuid,
        found.compute_devices[0].memory,
        found.compute_devices[0].has_bf16,
    ) == ("GPU-a", 80.0, True)
    assert found.device_for("auto").name == "A100" and found.device_for("cpu").name == "a CPU"
    assert Hardware(gpus=found.gpus, torch_cuda=False).device_for("auto").kind == "cpu"
    assert find_device("cpu", found.compute_devices) == found.compute_devices[-1]
    assert CARDS["T4"].compute_device.has_bf16 is False and CARDS["A100-80"].compute_device.has_bf16 is True


def test_a_gpu_is_asked_for_what_torch_says_and_matched_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    import torch

    facts = types.SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=15 * 1024**3, uuid="b")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
    found = find_device("cuda")
    assert (found.torch_name, found.name, found.capability, found.memory) == (
        "cuda:0",
        "Tesla T4",
        (7, 5),
        15.0,
    )
    assert found.has_bf16 is False and found.can_use_flash is False
    # the same GPU is second in NVML's order; what NVML said of it is kept, with torch's number
    known = (_gpu("another", (9, 0)), Device("cuda", 1, "T4 by NVML", "GPU-b", (7, 5), 14.9))
    matched = find_device("cuda:0", known)
    assert (matched.name, matched.memory, matched.index) == ("T4 by NVML", 14.9, 0)
    with pytest.raises(HardwareError, match="cuda:1"):
        find_device("cuda:1")


def test_emulated_bfloat16_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda.is_bf16_supported` is True on a T4; the loss scaler never came on there."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    qlora = resolved(T4, model__quantization="nf4")
    assert numeric.needs_scaler(T4, qlora) and numeric.find_autocast_dtype(T4, qlora) == "float16"
    assert (
        not numeric.needs_scaler(H100, resolved(H100))
        and numeric.find_autocast_dtype(H100, resolved(H100)) == "bfloat16"
    )
    assert numeric.find_autocast_dtype(OLD_CPU, resolved(OLD_CPU)) is None


def test_files_that_were_read_leave_a_container_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "memory.max": "1000000\n",
        "memory.current": "900000\n",
        "memory.stat": "anon 200000\nfile 700000\ninactive_file 600000\nactive_file 100000\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(devices, "CONTAINER", tmp_path)
    assert devices.measure_host_memory() == (1_000_000, 700_000)
