"""Behaviour of the libraries that memory depends on, by version.

Read from their sources: transformers 4.45.2, 4.48.1, 4.50.3, 5.23 and 5.24 (`loss/loss_utils.py`,
`modeling_*.py`, `integrations/sdpa_attention.py`, `training_args.py`), PEFT 0.12 and 0.21 (`tuners/lora`),
bitsandbytes 0.43 and 0.50 (`autograd/_functions.py`), torch 2.4 and 2.13 (`optim/adamw.py`). Sources of
`PROGRAMS` are named in the modules that mirror them.

Traces of transformers 5.23 and 5.24 count exactly the same bytes for all setups in the tests of traces. 5.24
renames the cache, and computes cosines and sines outside of `no_grad`, from tensors that need no gradient.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.methods.numbers.target_names import takes_expert
from tui_tuner.models.architectures.family import Linear
from tui_tuner.text import one_line

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "trl", "accelerate")
PROGRAMS = ("lit-gpt", "torchtune")  # which train with model code of their own
READ = {"transformers": ((4, 45), (5, 24)), "torch": ((2, 4), (2, 13)), "peft": ((0, 12), (0, 21))}
READ_PROGRAMS = {"lit-gpt": ((2023, 10), (2023, 10)), "torchtune": ((0, 3), (0, 5))}


@dataclass(frozen=True)
class Stack:
    """Versions of the libraries that train. `foreign` is one that was asked for instead of the installed:
    there, a run is taken to be Hugging Face's Trainer with its defaults, not this program's core."""

    versions: dict[str, str] = field(default_factory=dict)
    foreign: bool = False

    @property
    def program_name(self) -> str:
        """Return the program whose model code runs: the one of `PROGRAMS` in the stack, else transformers."""
        return next((name for name in PROGRAMS if name in self.versions), "transformers")

    def at_least(self, package: str, *version: int) -> bool:
        """Return whether a package is this version or newer; unknown packages count as new."""
        found = _parse_numbers(self.versions.get(package, ""))
        return not found or found >= version

    @property
    def shifts_logits(self) -> bool:
        """Return whether the loss copies the logits to shift them (4.50 pads the labels instead)."""
        return not self.at_least("transformers", 4, 50)

    @property
    def keeps_half_logits(self) -> bool:
        """Return whether the 16-bit logits outlive their float32 copy: since 4.46 the loss is a function."""
        return self.at_least("transformers", 4, 46)

    @property
    def gqa_in_sdpa(self) -> bool:
        """Return whether SDPA reads grouped keys and values without expanding them."""
        return self.at_least("transformers", 4, 51) and self.at_least("torch", 2, 5)

    @property
    def keeps_4bit_input(self) -> bool:
        """Return whether bitsandbytes' `MatMul4Bit` keeps its input, and dequantises into float16 before it
        casts (until 0.43; read in 0.41.1 and 0.43.3)."""
        return not self.at_least("bitsandbytes", 0, 43)

    @property
    def uses_foreach(self) -> bool:
        """Return whether the Trainer's AdamW makes temporaries for all weights at once; 5.0 fuses it."""
        return not self.at_least("transformers", 5)

    @property
    def fused_experts(self) -> bool:
        """Return whether experts are 3-D parameters, which PEFT's all-linear and bitsandbytes skip."""
        return self.at_least("transformers", 5)

    def quantises_linear(self, linear: Linear) -> bool:
        """Return whether bitsandbytes holds this matrix in 4 or 8 bits."""
        if linear.group == "router":
            return not self.fused_experts
        return linear.group != "expert" or not self.fused_experts

    def adapts_linear(self, linear: Linear, targets: frozenset[str]) -> bool:
        """Return whether this matrix gets an adapter."""
        # A router of transformers 5 is a parameter too, with no linear layer to wrap
        if self.fused_experts and linear.group in ("expert", "router"):
            return linear.group == "expert" and takes_expert(linear, targets)
        if "all-linear" in targets or linear.name in targets:
            return True
        return any(linear.name.endswith(f".{target}") for target in targets)  # as peft compares names

    def explain_doubt(self) -> str:
        """Explain why figures for this stack are less certain; empty if its code was read."""
        # Versions between the oldest and the newest that were read are taken to behave like them
        read = READ
        if self.program_name != "transformers":
            read = {self.program_name: READ_PROGRAMS[self.program_name]}
        for package, (low, high) in read.items():
            found = _parse_numbers(self.versions.get(package, ""))
            if found and not low <= found[:2] <= high:
                version = self.versions[package]
                return _("{package} {version} has not been verified", package=package, version=version)
        return ""

    def name_versions(self) -> dict[str, str]:
        """Return the versions that memory depends on, for people to read."""
        names = ("transformers", "torch", "peft")
        if self.program_name != "transformers":
            names = (self.program_name, "torch", "bitsandbytes")
        return {name: self.versions.get(name, "") for name in names}


def _parse_numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def find_installed_stack() -> Stack:
    """Return the libraries of this environment, from their metadata (nothing is imported)."""
    return Stack({package: version for package in PACKAGES if (version := _find_version(package))})


@cache
def _find_version(package: str) -> str:
    """Return the installed version of a package; empty if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def parse_stack(text: str) -> Stack:
    """Parse `transformers==4.48.1,torch==2.4.1`; packages that are not named are taken as installed.

    Raises:
        UsageError: not of that form, or an unknown package.
    """
    asked: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        package, equals, version = part.partition("==")
        package, version = package.strip().lower(), version.strip()
        if not equals or not _parse_numbers(version):
            raise UsageError(
                _("--stack: {part!r} names no version.", part=one_line(part)),
                hint=_("Write --stack transformers==4.48.1,torch==2.4.1"),
            )
        if package not in (*PACKAGES, *PROGRAMS):
            known = ", ".join((*PACKAGES, *PROGRAMS))
            raise UsageError(
                _(
                    "--stack: unknown package {package!r}; known are {known}.",
                    package=one_line(package),
                    known=known,
                )
            )
        asked[package] = version
    # Packages that were not named stay as installed, so one version can be varied alone
    here = find_installed_stack()
    # Naming exactly what is installed changes nothing: this program's own loop is planned for
    foreign = any(here.versions.get(package) != version for package, version in asked.items())
    return Stack({**here.versions, **asked}, foreign)


def make_library_stack(versions: Mapping[str, str]) -> Stack:
    """Make a stack of exactly these versions."""
    return Stack(dict(versions), foreign=True)
