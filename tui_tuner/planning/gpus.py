"""Common GPUs with their usable memory and speed. A machine's own RAM counts as a card too.

`usable` is the memory that the driver leaves to one process, in GiB; if it was not measured, 98.5 % of the
memory that the driver shows. `tflops` is dense 16-bit matrix speed from the makers' data sheets.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import HardwareError
from tui_tuner.locales import N_, _
from tui_tuner.models.device import Device
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.planning.speed.speed_rates import Rates, estimate_rates
from tui_tuner.text import one_line

MOST_GPUS = 8  # of a kind in a machine
LARGEST = 2048  # GiB; a larger number is a mistyped name
CUBLAS_AMPERE = 2 * 8_519_680.0  # two handles: the thread that runs forward and autograd's
CUBLAS_HOPPER = 2 * 33_554_432.0
RAM = N_("this machine's RAM")
PROCESS = 0.62  # GiB that Python, torch, transformers and peft take before a model is loaded, measured


@dataclass(frozen=True)
class Card:
    """A GPU model. Memory and context in GiB, `tflops` dense in 16 bits, `bandwidth` in GB/s.

    `cpu` is a processor, whose card is its RAM and whose context is the process itself. Measured by runs on
    this machine: `cache` (reserved beyond allocated, as a share; None if not measured), `error` (measured
    against predicted allocated, as a share), the number of `runs` behind them, and `rates`.
    """

    name: str
    total: float
    usable: float
    context: float
    tflops: float
    bandwidth: float
    capability: tuple[int, int]
    cpu: bool = False
    cache: float | None = None
    error: float = 0.0
    runs: int = 0
    rates: Rates | None = None

    @property
    def compute_device(self) -> Device:
        """Return the card as a device to compute on; bfloat16 support of a processor is not known here."""
        kind: Literal["cpu", "cuda"] = "cpu" if self.cpu else "cuda"
        return Device(kind, name=self.name, capability=self.capability, memory=self.total)

    @property
    def reached_rates(self) -> Rates:
        """Return its achievable speed: as measured, or estimated from its data sheet."""
        return self.rates or estimate_rates(self.tflops, self.bandwidth, self.capability)

    @property
    def workspace_bytes(self) -> float:
        """Return the bytes of cuBLAS workspaces, which come from torch's allocator."""
        if self.cpu:
            return 0.0
        return CUBLAS_HOPPER if self.capability >= (9, 0) else CUBLAS_AMPERE


# name, total, usable, context: T4, A10G, 3090, 4090, A100, H100 and 6000 Ada measured, others derived
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card("T4", 15.0, 14.6, 0.13, 65, 320, (7, 5)),
        Card("V100-16", 16.0, 15.75, 0.3, 125, 900, (7, 0)),
        Card("V100-32", 32.0, 31.5, 0.3, 125, 900, (7, 0)),
        Card("A10G", 22.5, 22.0, 0.3, 70, 600, (8, 6)),
        Card("L4", 22.5, 22.0, 0.4, 121, 300, (8, 9)),
        Card("RTX 3060 12GB", 12.0, 11.6, 0.45, 51, 360, (8, 6)),
        Card("RTX 3080", 10.0, 9.6, 0.45, 60, 760, (8, 6)),
        Card("RTX 3090", 24.0, 23.7, 0.45, 71, 936, (8, 6)),
        Card("RTX 4060 Ti 16GB", 16.0, 15.6, 0.46, 88, 288, (8, 9)),
        Card("RTX 4070", 12.0, 11.6, 0.46, 117, 504, (8, 9)),
        Card("RTX 4080", 16.0, 15.6, 0.46, 195, 717, (8, 9)),
        Card("RTX 4090", 24.0, 23.6, 0.47, 165, 1008, (8, 9)),
        Card("RTX 5080", 16.0, 15.6, 0.5, 113, 960, (12, 0)),
        Card("RTX 5090", 32.0, 31.3, 0.5, 210, 1792, (12, 0)),
        Card("A40", 45.0, 44.3, 0.42, 150, 696, (8, 6)),
        Card("RTX A6000", 48.0, 47.4, 0.42, 155, 768, (8, 6)),
        Card("RTX 6000 Ada", 48.0, 47.4, 0.42, 364, 960, (8, 9)),
        Card("L40S", 45.0, 44.4, 0.45, 362, 864, (8, 9)),
        Card("A100-40", 40.0, 39.5, 0.45, 312, 1555, (8, 0)),
        Card("A100-80", 80.0, 79.25, 0.45, 312, 2039, (8, 0)),
        Card("H100", 80.0, 79.2, 0.5, 989, 3350, (9, 0)),
        Card("H200", 140.0, 138.5, 0.5, 989, 4800, (9, 0)),
        Card("B200", 179.0, 177.0, 0.6, 2250, 8000, (10, 0)),
    )
}
NICKNAMES = {
    "a100": "A100-80",
    "a100-40gb": "A100-40",
    "a100-80gb": "A100-80",
    "a100 40gb": "A100-40",
    "a100 80gb": "A100-80",
    "h100-80gb": "H100",
    "a6000": "RTX A6000",
    "rtx3060": "RTX 3060 12GB",
    "3060": "RTX 3060 12GB",
    "4060 ti": "RTX 4060 Ti 16GB",
    "6000 ada": "RTX 6000 Ada",
    "v100": "V100-16",
    "l40": "L40S",
}

# Driver names that are not names of the table (the first match counts), with the GPU that each one means, and
# the variant's own dense 16-bit speed if its data sheet has another one
DRIVER_NAMES: tuple[tuple[str, str, float | None], ...] = (
    (r"h[18]00 nvl", "H100", 835),
    (r"h[18]00 pcie", "H100", 756),
    (r"h[18]00|gh200", "H100", None),
    (r"h200 nvl", "H200", 835),
    (r"h200", "H200", None),
    (r"b200|gb200", "B200", None),
    (r"a[18]00", "A100-80", None),
    (r"v100.* pcie", "V100-16", 112),
    (r"v100", "V100-16", None),
    (r"t4", "T4", None),
    (r"l40", "L40S", 181),
    (r"rtx 6000 ada", "RTX 6000 Ada", None),
)
SMALLER = {"A100-80": "A100-40"}  # of two with the same name, that with half of the memory
LARGER = {"V100-16": "V100-32"}


def _named_by_driver(name: str, total_gib: float) -> Card | None:
    """Return the card for a name such as `NVIDIA H100 80GB HBM3`; None if it is not in the list.

    A part of a GPU (MIG) has an unknown share of its speed, so it counts as not listed.
    """
    words = re.sub(r"[\s_-]+", " ", name.lower())
    # A part has a fraction of the speed of its GPU, which the name does not tell
    if re.search(r"\bmig\b", words):
        return None
    for pattern, known, tflops in DRIVER_NAMES:
        if not re.search(rf"\b(?:{pattern})\b", words):
            continue
        card = CARDS[known]
        # The driver gives both sizes the same name, so the memory decides
        if known in SMALLER and total_gib < 0.75 * card.total:
            card = CARDS[SMALLER[known]]
        elif known in LARGER and total_gib > 1.5 * card.total:
            card = CARDS[LARGER[known]]
        return card if tflops is None else replace(card, tflops=tflops)
    return None


def find_gpu_card(text: str) -> Card:
    """Find a card by name (`T4`, `rtx4090`, `a100-80gb`), or make one of so many GiB (`24`, `24GiB`).

    Raises:
        HardwareError: no such card, or an impossible amount of memory.
    """
    asked = text.strip().lower()
    amount = re.fullmatch(r"([\d.]+)\s*(gib|gb|g)?", asked)
    # Bare numbers are GiB, unless they are the model number of a common card
    if amount and asked not in ("3060", "3080", "3090", "4070", "4080", "4090", "5080", "5090"):
        return _of_size(text, amount.group(1))
    # Spaces, dashes and case differ between shops, drivers and people
    plain = _normalise_name(asked)
    for name, card in CARDS.items():
        if plain in (_normalise_name(name), _normalise_name(name).removeprefix("rtx")):
            return card
    for nickname, name in NICKNAMES.items():
        if plain == _normalise_name(nickname):
            return CARDS[name]
    near = difflib.get_close_matches(plain, [_normalise_name(name) for name in CARDS], n=1, cutoff=0.5)
    meant = next((name for name in CARDS if near and _normalise_name(name) == near[0]), "")
    hint = _("Known GPUs are {cards}; or give an amount of memory, such as 24GiB.", cards=", ".join(CARDS))
    if meant:
        hint = f"{_('Did you mean {name}?', name=meant)} {hint}"
    raise HardwareError(
        _("no GPU is called {text!r}.", text=one_line(text)),
        where="--gpu",
        hint=hint,
    )


def parse_gpu_cards(text: str, config: RunConfig) -> tuple[Card, RunConfig]:
    """Return a card, or several (`2xH100`), and the config with that many devices.

    Raises:
        HardwareError: no such card, or the config names another number of devices.
    """
    several = re.fullmatch(r"\s*(\d{1,3})\s*[x×*]\s*(\S.*)", text, re.IGNORECASE)
    if several is None:
        return find_gpu_card(text), config
    card, count = find_gpu_card(several.group(2)), int(several.group(1))
    asked = config.hardware.devices
    # The command line and the config must not contradict each other
    if not 1 <= count <= MOST_GPUS or (asked != "auto" and asked != count):
        name = one_line(text)
        if asked != "auto":
            what = _(
                "{name!r} means {count} GPUs, but the config asks for {asked}.",
                name=name,
                count=count,
                asked=asked,
            )
        else:
            what = _(
                "{name!r} means {count} GPUs, but only 1 to {most} can be planned for.",
                name=name,
                count=count,
                most=MOST_GPUS,
            )
        raise HardwareError(what, where="--gpu")
    return card, edit_values(config, {"hardware.devices": count})


def make_gpu_card(gpu: Gpu) -> Card:
    """Return a GPU of this machine as a card, of which only the memory free now can be used."""
    known = _named_by_driver(gpu.name, gpu.total_gib)
    if known is None:
        try:
            known = find_gpu_card(gpu.name)
        except HardwareError:
            # An unknown GPU still gets a plan: its memory is known, only its speed is not
            known = Card(gpu.name, gpu.total_gib, gpu.free_gib, 0.5, 0.0, 0.0, gpu.capability)
    # Free memory, not the table's: a desktop or another process may hold part of it
    return replace(known, name=gpu.name, total=gpu.total_gib, usable=gpu.free_gib, capability=gpu.capability)


def find_local_card(config: RunConfig, hardware: Hardware) -> Card:
    """Return the card that a run on this machine would use: the first GPU, or the processor."""
    if config.hardware.devices != "cpu" and hardware.usable_gpus:
        return make_gpu_card(hardware.usable_gpus[0])
    return Card(RAM, hardware.memory_gib, hardware.available_gib, PROCESS, 0.0, 0.0, (0, 0), cpu=True)


def _of_size(text: str, number: str) -> Card:
    try:
        gib = float(number)
    except ValueError:
        gib = 0.0
    if not 1 <= gib <= LARGEST:
        raise HardwareError(
            _("{text!r} is not a valid amount of GPU memory.", text=one_line(text)), where="--gpu"
        )
    return Card(f"{gib:g} GiB", gib, gib, 0.45, 0.0, 0.0, (8, 0))


def _normalise_name(name: str) -> str:
    return re.sub(r"(nvidia|geforce|[\s_-])", "", name.lower())
