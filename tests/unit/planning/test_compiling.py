"""Whether compiling pays, and what a machine has for it: pure functions of facts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tui_tuner.compute.kernels.available_kernels import list_available_kernels
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.device import Device
from tui_tuner.planning.compiling import GAINS, Gain, choose_compile
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.resolve import resolve_config

CPU, H100 = Device("cpu"), Device("cuda", name="NVIDIA H100", capability=(9, 0))
QUARTER = Gain(share=0.25, seconds=60)


@pytest.mark.parametrize(
    ("device", "steps", "step_seconds", "gain", "chosen"),
    [
        (CPU, 10_000, 1.0, QUARTER, False),
        (H100, 10_000, 1.0, None, False),  # nothing was measured
        (H100, 10_000, 1.0, Gain(0.0, 60), False),
        (H100, 10_000, 1.0, Gain(-0.1, 60), False),
        (H100, None, 1.0, QUARTER, False),
        (H100, 10_000, None, QUARTER, False),
        (H100, 479, 1.0, QUARTER, False),  # saves less than twice its cost
        (H100, 480, 1.0, QUARTER, True),
        (H100, 480, 0.1, QUARTER, False),
        (H100, 10_000, 1.0, QUARTER, True),
        (H100, 10_000, 1.0, Gain(0.25, 1300), False),
    ],
)
def test_compiling_has_to_be_paid_back(
    device: Device, steps: Any, step_seconds: Any, gain: Any, chosen: bool
) -> None:
    found, why = choose_compile(device, steps, step_seconds, gain)
    assert found is chosen
    assert why.endswith(".")


def test_auto_is_off_where_nothing_was_measured() -> None:
    assert not GAINS
    found = resolve_config(RunConfig(), hardware=Hardware(cores=2, memory_gib=8.0))
    assert found.config.training.compile is False and found.explain_field("training.compile")


def test_what_is_asked_for_stays() -> None:
    config = RunConfig.model_validate({"training": {"compile": True}})
    assert resolve_config(config, hardware=Hardware(cores=2, memory_gib=8.0)).config.training.compile is True


def test_what_a_machine_has_is_listed_without_torch() -> None:
    code = (
        "import sys\n"
        "from tui_tuner.models.device import Device\n"
        "from tui_tuner.compute.kernels.available_kernels import list_available_kernels\n"
        "list_available_kernels(Device('cuda')), list_available_kernels(Device('cpu'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for device in (CPU, H100):
        found = list_available_kernels(device)
        assert {"norm", "rotary", "mlp", "head", "compile"} <= {one.part for one in found}
        assert all(one.kernel or one.why for one in found)
