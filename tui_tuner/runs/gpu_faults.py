"""Recognise GPU faults in messages of CUDA and of the driver, and explain them.

Sources: cudaGetErrorString of the CUDA runtime API ("CUDART_TYPES"), and NVIDIA's "XID Errors" (r580), which
lists the meaning of each number in the kernel's log and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tui_tuner.locales import N_, _


@dataclass(frozen=True)
class GpuFault:
    """`code` is for programs; `message` and `hint` for the user. `hardware`: the GPU rather than the code."""

    code: str
    message: str
    hint: str
    hardware: bool

    def translate_texts(self, more: str = "") -> GpuFault:
        """Return the fault in the user's language, with another sentence after its message if given."""
        message = f"{_(self.message)} {more}".strip()
        return GpuFault(self.code, message, _(self.hint), self.hardware)


_ECC = GpuFault(
    "gpu_ecc",
    N_("The GPU found an error in its memory that it could not correct (ECC)."),
    N_(
        "This is a hardware fault, not your config. The last checkpoint is valid: `tui-tuner resume` "
        "continues from it, on another GPU or after a restart of the machine. Return a rented GPU that does "
        "this."
    ),
    True,
)
_LOST = GpuFault(
    "gpu_lost",
    N_("The GPU is no longer on the bus: the driver cannot reach it."),
    N_(
        "This is a hardware fault (power, heat or the slot). Restart the machine. The last checkpoint is "
        "valid: `tui-tuner resume` continues from it, on another GPU or after a restart of the machine."
    ),
    True,
)
_ILLEGAL = GpuFault(
    "gpu_illegal_access",
    N_("A kernel on the GPU accessed memory outside its own."),
    N_(
        "A defect in a kernel, a driver or the GPU. The last checkpoint is valid: `tui-tuner resume` "
        "continues from it. If it happens again at another point, suspect the GPU; at the same point, the "
        "code."
    ),
    False,
)
_ASSERT = GpuFault(
    "gpu_assert",
    N_(
        "A check inside a GPU kernel failed, mostly because of an index outside its table, such as a token "
        "id that the model does not have."
    ),
    N_("Run with hardware.devices: cpu to see which index. Check that the tokenizer belongs to the model."),
    False,
)
_LAUNCH = GpuFault(
    "gpu_launch",
    N_("A kernel on the GPU crashed."),
    N_(
        "A software defect or a failing GPU. The last checkpoint is valid: `tui-tuner resume` continues from "
        "it. If it happens again at another point, suspect the GPU; at the same point, the code."
    ),
    False,
)
_NVLINK = GpuFault(
    "gpu_link",
    N_("The link between GPUs failed with an error that could not be corrected."),
    N_(
        "This is a hardware fault. The last checkpoint is valid: `tui-tuner resume` continues from it, on "
        "another GPU or after a restart of the machine."
    ),
    True,
)
_BUSY = GpuFault(
    "gpu_busy",
    N_("The GPU is in use by another process (exclusive mode), or it is being reset."),
    N_("Run `nvidia-smi` to see which process uses it."),
    False,
)
_DRIVER = GpuFault(
    "gpu_driver",
    N_("The GPU driver and this PyTorch are not compatible."),
    N_("Update the driver, or install a PyTorch build for it. `tui-tuner doctor` shows both versions."),
    False,
)
_FIRMWARE = GpuFault(
    "gpu_firmware",
    N_("The GPU's own control processor stopped answering."),
    N_(
        "Restart the machine; update the driver if it happens again. The last checkpoint is valid: "
        "`tui-tuner resume` continues from it."
    ),
    True,
)
_COLLECTIVE = GpuFault(
    "gpu_collective",
    N_("The GPUs stopped communicating with each other (NCCL)."),
    N_("One of the processes has died or is stuck: look for the first error in the logs of the others."),
    False,
)

# First match wins; texts are those of the CUDA runtime, the driver, cuBLAS, cuDNN, NVML and NCCL.
_TEXTS: tuple[tuple[str, GpuFault], ...] = (
    (r"uncorrectable ECC error|ECC_UNCORRECTABLE", _ECC),
    (r"uncorrectable NVLink error|Invalid access of peer GPU memory over nvlink", _NVLINK),
    (r"fallen off the bus|GPU is lost|device is lost|cudaErrorDevicesUnavailable.*lost", _LOST),
    (r"device-side assert triggered|ScatterGatherKernel.*Assertion|Indexing\.cu.*Assertion", _ASSERT),
    (
        r"illegal memory access|misaligned address|illegal instruction was encountered"
        r"|invalid program counter|hardware stack error"
        r"|operation not supported on global/shared address space",
        _ILLEGAL,
    ),
    (
        r"unspecified launch failure|launch timed out and was terminated|contained error|tensor memory",
        _LAUNCH,
    ),
    (r"CUDA-capable device\(s\) is/are busy or unavailable", _BUSY),
    (
        r"driver version is insufficient|no kernel image is available|unsupported toolchain"
        r"|unsupported display driver / cuda driver combination|forward compatibility was attempted",
        _DRIVER,
    ),
    (r"Timeout waiting for RPC from GSP|\bGSP\b.*(?:timeout|halted|exception)", _FIRMWARE),
    (
        r"Watchdog caught collective operation timeout|NCCL communicator was aborted|ncclRemoteError",
        _COLLECTIVE,
    ),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), fault) for pattern, fault in _TEXTS)

_XIDS = {
    **dict.fromkeys((48, 63, 64, 92, 94, 95, 140, 160, 171, 172), _ECC),
    **dict.fromkeys((79,), _LOST),
    **dict.fromkeys((31, 32, 69), _ILLEGAL),
    **dict.fromkeys((13, 43, 109), _LAUNCH),
    **dict.fromkeys((74, 121, 144, 145, 146, 147, 148, 149, 150), _NVLINK),
    **dict.fromkeys((61, 62, 119, 120), _FIRMWARE),
}
_RECORDED_ONLY = {45, 63, 92, 154}  # clean-up after, or a note about, another fault
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\)?:? *(\d+),")


def classify_fault(text: str) -> GpuFault | None:
    """Return the GPU fault that a message of an exception or a log describes, or None."""
    for pattern, fault in _COMPILED:
        if pattern.search(text):
            return fault.translate_texts()
    return None


def find_kernel_fault(records: Iterable[str]) -> GpuFault | None:
    """Return the most serious fault in `NVRM: Xid` records: hardware before software, then the earliest."""
    found = []
    for record in records:
        match = _XID.search(record)
        if match is None:
            continue
        number = int(match[2])
        # Unknown numbers are left out: NVIDIA uses some of them for mere information.
        fault = _XIDS.get(number)
        if fault is not None and number not in _RECORDED_ONLY:
            log = _("The kernel's log reports Xid {number} for GPU {gpu}.", number=number, gpu=match[1])
            found.append(fault.translate_texts(log))
    # A broken card causes software faults in its wake, so the hardware fault is the cause.
    return next((fault for fault in found if fault.hardware), found[0] if found else None)
