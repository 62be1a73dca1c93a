"""`tui-tuner doctor`: for each device which kernels there are, and why not faster ones."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tui_tuner.cli.machine.checkup import print_checkup
from tui_tuner.planning import hardware
from tui_tuner.planning.hardware import Gpu, Hardware

CARDS = (
    Gpu(0, "NVIDIA H100 80GB HBM3", 79.2, 79.0, (9, 0), "GPU-a"),
    Gpu(1, "Tesla T4", 14.6, 14.5, (7, 5), "GPU-b"),
)


def test_it_lists_the_kernels_of_each_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "detect_hardware", lambda: Hardware(gpus=CARDS, cpu="A CPU"))
    print_checkup(json=True)
    kernels = json.loads(capsys.readouterr().out)["kernels"]
    assert list(kernels) == ["cuda:0 NVIDIA H100 80GB HBM3", "cuda:1 Tesla T4", "cpu A CPU"]
    for chosen in kernels.values():
        assert [one["part"] for one in chosen][:2] == ["attention", "lora"]
        assert all(one["kernel"] or one["why"] for one in chosen)
    h100, t4, cpu = (chosen[0] for chosen in kernels.values())
    new = importlib.util.find_spec("torch.nn.attention.varlen") is not None  # torch 2.10
    fast = "torch varlen_attn" if new else "torch memory-efficient attention"
    assert h100["kernel"] == fast and t4["kernel"] == "torch memory-efficient attention"
    assert "torch varlen_attn" in t4["why"]  # and why not the faster one
    print_checkup(json=False)
    lines = capsys.readouterr().out.split("\n")
    place = lines.index("kernels on cuda:0 NVIDIA H100 80GB HBM3:")
    assert lines[place + 1].split()[:3] == ["attention", *fast.split()[:2]]
    assert cpu["kernel"] in "\n".join(lines) and h100["why"] in lines[place + 1]


def test_a_device_that_cannot_be_asked_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Hardware:
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(hardware, "detect_hardware", fail)
    print_checkup(json=True)
    assert json.loads(capsys.readouterr().out)["kernels"] == {}
