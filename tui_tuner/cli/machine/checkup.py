"""`tui-tuner doctor`: reports the hardware and libraries of this machine, and problems with them."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import asdict
from typing import Any

import typer

from tui_tuner.errors import EXIT_DONE, EXIT_FAILED
from tui_tuner.locales import _, _n
from tui_tuner.runs.event_lines import describe_kernel_entries
from tui_tuner.text import format_bytes, one_line

_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "textual",
    "safetensors",
)
_LITTLE_DISK = 5 * 2**30


def print_checkup(json: bool) -> int:
    """Print versions, devices, disk space and problems with their fixes; return the exit code."""
    facts, problems = _collect_versions()
    facts["device"] = _describe_device(problems)
    facts |= _describe_hub()
    kernels = _list_kernels()
    free = shutil.disk_usage(".").free
    facts["disk_free"] = format_bytes(free)
    if free < _LITTLE_DISK:
        problems.append(
            _(
                "only {free} of disk space free here: checkpoints may not fit. Use --runs with a larger "
                "disk.",
                free=format_bytes(free),
            )
        )
    if json:
        import orjson

        report = {"facts": facts, "kernels": kernels, "problems": problems}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, value in facts.items():
            typer.echo(f"{name:14} {one_line(value)}")
        for device, chosen in kernels.items():
            typer.echo(_("kernels on {device}:", device=one_line(device)))
            for part, kernel, why in describe_kernel_entries(chosen):
                typer.echo(f"  {part:12} {kernel}{f'  ({why})' if why else ''}")
        for problem in problems:
            typer.echo(_("problem: {problem}", problem=one_line(problem)))
        if not problems:
            typer.echo(_("no problems found"))
    return EXIT_FAILED if problems else EXIT_DONE


def _collect_versions() -> tuple[dict[str, str], list[str]]:
    facts = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    problems = []
    for name in _LIBRARIES:
        try:
            # From the metadata: importing the libraries would take many seconds
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = _("missing")
            problems.append(
                _(
                    "{name} is not installed. Install tui-tuner again: pip install --upgrade tui-tuner",
                    name=name,
                )
            )
    return facts, problems


def _describe_hub() -> dict[str, str]:
    """Return the address of the hub and the folder of its cache."""
    from tui_tuner.cli.model_commands import describe_used_hub
    from tui_tuner.models.hub.huggingface import find_huggingface_cache

    return {"hub": describe_used_hub(), "models": find_huggingface_cache()}


def _describe_device(problems: list[str]) -> str:
    try:
        import torch
    except Exception as error:
        problems.append(_("torch cannot be imported: {error}", error=error))
        return _("unknown")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return ", ".join(names)
    try:
        # torch reports no GPU both without one and with a CPU build; the driver tells which it is
        import pynvml

        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            problems.append(
                _(
                    "there is an NVIDIA GPU, but this torch cannot use it; install a CUDA build of torch "
                    "that fits the driver (https://pytorch.org/get-started/locally/)."
                )
            )
    except Exception:
        # No driver: a machine without a GPU is not a problem
        return _describe_cpu(torch.get_num_threads())
    return _describe_cpu(torch.get_num_threads())


def _list_kernels() -> dict[str, list[dict[str, Any]]]:
    """List for each device the kernels for the parts of a model, and why others cannot be used."""
    try:
        from tui_tuner.planning.hardware import detect_hardware
        from tui_tuner.training.watching.kernels import list_device_kernels

        return {
            f"{device.torch_name} {device.name}".strip(): [asdict(one) for one in list_device_kernels(device)]
            for device in detect_hardware().compute_devices
        }
    except Exception:
        # A torch that cannot be imported is reported by `_describe_device`
        return {}


def _describe_cpu(threads: int) -> str:
    return _n("CPU, {threads} thread", "CPU, {threads} threads", threads, threads=threads)
