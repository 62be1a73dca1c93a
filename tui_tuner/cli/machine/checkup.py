"""`tui-tuner doctor`: what this machine has, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import asdict
from typing import Any

import typer

from tui_tuner.errors import EXIT_DONE, EXIT_FAILED
from tui_tuner.locales import _, _n
from tui_tuner.runs.told import kernels_told
from tui_tuner.text import human_bytes, one_line

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


def checkup(json: bool) -> int:
    """Print versions, devices and disk, each problem with its mend; returns the exit code."""
    facts, problems = _versions()
    facts["device"] = _device(problems)
    facts |= _hub()
    kernels = _kernels()
    free = shutil.disk_usage(".").free
    facts["disk_free"] = human_bytes(free)
    if free < _LITTLE_DISK:
        problems.append(
            _(
                "only {free} free here: checkpoints may not fit. Use --runs on a larger disk.",
                free=human_bytes(free),
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
            for part, kernel, why in kernels_told(chosen):
                typer.echo(f"  {part:12} {kernel}{f'  ({why})' if why else ''}")
        for problem in problems:
            typer.echo(_("problem: {problem}", problem=one_line(problem)))
        if not problems:
            typer.echo(_("all is well"))
    return EXIT_FAILED if problems else EXIT_DONE


def _versions() -> tuple[dict[str, str], list[str]]:
    facts = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    problems = []
    for name in _LIBRARIES:
        try:
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


def _hub() -> dict[str, str]:
    """Where models come from, and where they are kept."""
    from tui_tuner.cli.models import hub_address
    from tui_tuner.models.hub.huggingface import cache_folder

    return {"hub": hub_address(), "models": cache_folder()}


def _device(problems: list[str]) -> str:
    try:
        import torch
    except Exception as error:
        problems.append(_("torch cannot be imported: {error}", error=error))
        return _("unknown")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return ", ".join(names)
    try:
        import pynvml

        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            problems.append(
                _(
                    "there is an NVIDIA GPU, but this torch cannot use it; install a CUDA build of torch "
                    "that fits the driver (https://pytorch.org/get-started/locally/)."
                )
            )
    except Exception:  # no driver: a machine without a GPU is in order
        return _cpu(torch.get_num_threads())
    return _cpu(torch.get_num_threads())


def _kernels() -> dict[str, list[dict[str, Any]]]:
    """For each device, by its name, what can compute the parts of a model there, and why not the rest."""
    try:
        from tui_tuner.planning.hardware import detect
        from tui_tuner.training.watching.kernels import kernels_on

        return {
            f"{device.place} {device.name}".strip(): [asdict(one) for one in kernels_on(device)]
            for device in detect().devices
        }
    except Exception:  # a torch that cannot be imported is told elsewhere
        return {}


def _cpu(threads: int) -> str:
    return _n("CPU, {threads} thread", "CPU, {threads} threads", threads, threads=threads)
