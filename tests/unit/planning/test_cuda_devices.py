"""Which GPUs CUDA shows to a process, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tui_tuner.planning import hardware
from tui_tuner.planning.cuda_devices import GpuPart, ListedGpu, VisibleDevice, list_visible_devices

SLOTS, FASTEST = "PCI_BUS_ID", "FASTEST_FIRST"
# by their slots: a slow card, a fast one, another slow one
MIXED = (
    ListedGpu("GPU-aa11", "0000:01:00.0", speed=1.0),
    ListedGpu("GPU-bb22", "0000:41:00.0", speed=9.0),
    ListedGpu("GPU-bb33", "0000:81:00.0", speed=1.0),
)
PARTS = (GpuPart("MIG-1111", 1, 0), GpuPart("MIG-2222", 2, 0), GpuPart("MIG-2333", 2, 1))
SPLIT = (
    ListedGpu("GPU-aa11", "0000:01:00.0", speed=1.0),
    ListedGpu("GPU-bb22", "0000:41:00.0", speed=1.0, split=True, parts=PARTS),
)
EMPTY = (SPLIT[0], ListedGpu("GPU-cc", "0000:51:00.0", split=True))


@pytest.mark.parametrize(
    ("visible", "order", "expected"),
    [
        # all of them
        (None, SLOTS, [0, 1, 2]),
        (None, FASTEST, [1, 0, 2]),
        (None, None, [1, 0, 2]),
        (None, "nonsense", [1, 0, 2]),
        # by index, which counts in the same order
        ("0", SLOTS, [0]),
        ("0", FASTEST, [1]),
        ("0", None, [1]),
        ("2,0", SLOTS, [2, 0]),
        ("2,0", FASTEST, [2, 1]),
        (" 1 , 2 ", SLOTS, [1, 2]),
        ("+1", SLOTS, [1]),
        ("1gpu", SLOTS, [1]),
        # none
        ("", SLOTS, []),
        ("-1", SLOTS, []),
        ("none", SLOTS, []),
        ("NoDevFiles", SLOTS, []),
        # up to the first invalid entry
        ("1,9,2", SLOTS, [1]),
        ("1,-1,2", SLOTS, [1]),
        ("1,,2", SLOTS, [1]),
        ("1,x,2", SLOTS, [1]),
        # one that is named twice
        ("1,1", SLOTS, []),
        ("0,GPU-aa11", SLOTS, []),
        # by UUID, whole or the beginning of one only
        ("GPU-bb33,GPU-aa11", SLOTS, [2, 0]),
        ("GPU-bb33,GPU-aa11", FASTEST, [2, 0]),
        ("GPU-a", SLOTS, [0]),
        ("GPU-bb", SLOTS, []),
        ("GPU-aa,GPU-bb,1", SLOTS, [0]),
        ("GPU-zz", SLOTS, []),
        ("GPU-", SLOTS, []),
        ("GPU-bb22,0", SLOTS, [1, 0]),
        ("MIG-aa11", SLOTS, []),
    ],
)
def test_whole_gpus(visible: str | None, order: str | None, expected: list[int]) -> None:
    assert list_visible_devices(MIXED, visible, order) == [VisibleDevice(gpu) for gpu in expected]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        # one part at most, and no whole GPU beside it
        (None, [VisibleDevice(1, 0)]),
        ("0,1", [VisibleDevice(1, 0)]),
        ("MIG-2222", [VisibleDevice(1, 1)]),
        ("MIG-23", [VisibleDevice(1, 2)]),
        ("MIG-2", []),
        ("MIG-2222,MIG-1111", [VisibleDevice(1, 1)]),
        ("MIG-9999,MIG-1111", []),
        ("MIG-2222,MIG-2222", []),
        # as drivers before R470 name them
        ("MIG-GPU-bb22/2/1", [VisibleDevice(1, 2)]),
        ("MIG-GPU-bb22/2/7", []),
        ("MIG-GPU-bb22/2", []),
        # the GPU that is split stands for its first part
        ("1", [VisibleDevice(1, 0)]),
        ("GPU-bb22", [VisibleDevice(1, 0)]),
        ("0", [VisibleDevice(0)]),
        ("GPU-aa11", [VisibleDevice(0)]),
    ],
)
def test_parts_of_gpus(visible: str | None, expected: list[VisibleDevice]) -> None:
    assert list_visible_devices(SPLIT, visible, SLOTS) == expected


def test_a_split_gpu_without_parts_cannot_be_used() -> None:
    assert list_visible_devices(EMPTY, None, SLOTS) == [VisibleDevice(0)]
    assert list_visible_devices(EMPTY, "1", SLOTS) == []
    assert list_visible_devices(EMPTY, "0,1", SLOTS) == [VisibleDevice(0)]
    assert list_visible_devices((), None, SLOTS) == list_visible_devices((), "0", None) == []


MEMORY = {"T4": 15, "A100": 40, "one": 5, "two": 20}
UUIDS = {"T4": b"GPU-aa", "A100": "GPU-bb", "one": "MIG-1111", "two": "MIG-2222"}
NAMES = {"T4": b"Tesla T4", "A100": "A100-40", "one": "A100 MIG 1g.5gb", "two": "A100 MIG 3g.20gb"}


class Nvml(SimpleNamespace):
    """What NVML answers on a machine with a T4 in the first slot, and an A100 in two parts in the second."""

    NVML_CLOCK_SM = 1
    NVMLError = type("NVMLError", (Exception,), {})
    T4, A100, ONE, TWO = "T4", "A100", "one", "two"

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return (self.T4, self.A100)[index]

    def nvmlDeviceGetUUID(self, handle: str) -> Any:
        return UUIDS[handle]

    def nvmlDeviceGetName(self, handle: str) -> Any:
        return NAMES[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        size = MEMORY[handle] * 1024**3
        return SimpleNamespace(total=size, free=size // 2)

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return (7, 5) if handle == self.T4 else (8, 0)

    def nvmlDeviceGetNumGpuCores(self, handle: str) -> int:
        return 2560 if handle == self.T4 else 6912

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:
        return 1590 if handle == self.T4 else 1410

    def nvmlDeviceGetPciInfo(self, handle: str) -> Any:
        return SimpleNamespace(busId=b"00000000:01:00.0" if handle == self.T4 else "00000000:41:00.0")

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        if handle == self.T4:
            raise self.NVMLError("Not Supported")
        return self.split, self.split

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        if handle == self.T4:
            raise self.NVMLError("Not Supported")
        return 7 * self.split

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        if index not in (0, 2):
            raise self.NVMLError("Not Found")
        return self.ONE if index == 0 else self.TWO

    def nvmlDeviceGetGpuInstanceId(self, handle: str) -> int:
        return 7 if handle == self.ONE else 2

    def nvmlDeviceGetComputeInstanceId(self, handle: str) -> int:
        return 0


@pytest.mark.parametrize(
    ("split", "visible", "order", "names", "memory"),
    [
        (0, None, SLOTS, ["Tesla T4", "A100-40"], [15, 40]),
        (0, None, None, ["Tesla T4", "A100-40"], [15, 40]),  # which every process that trains sets
        (0, None, FASTEST, ["A100-40", "Tesla T4"], [40, 15]),
        (0, "0", FASTEST, ["A100-40"], [40]),
        (0, "GPU-a", FASTEST, ["Tesla T4"], [15]),
        (1, None, SLOTS, ["A100 MIG 1g.5gb"], [5]),
        (1, "MIG-2222", SLOTS, ["A100 MIG 3g.20gb"], [20]),
        (1, "MIG-GPU-bb/2/0", SLOTS, ["A100 MIG 3g.20gb"], [20]),
        (1, "0", SLOTS, ["Tesla T4"], [15]),
        (0, "", SLOTS, [], []),
    ],
)
def test_a_machine_as_nvml_shows_it(
    monkeypatch: pytest.MonkeyPatch,
    split: int,
    visible: str | None,
    order: str | None,
    names: list[str],
    memory: list[int],
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", Nvml(split=split))  # type: ignore[arg-type]
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    found = hardware.detect_hardware()
    assert [gpu.name for gpu in found.gpus] == names
    assert [gpu.total_gib for gpu in found.gpus] == memory
    assert [gpu.free_gib for gpu in found.gpus] == [size / 2 for size in memory]


def test_cuda_counts_by_slots_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from tui_tuner.launch.environment import prepare_environment

    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    prepare_environment()
    assert os.environ["CUDA_DEVICE_ORDER"] == SLOTS
    monkeypatch.setenv("CUDA_DEVICE_ORDER", FASTEST)
    prepare_environment()
    assert os.environ["CUDA_DEVICE_ORDER"] == FASTEST
