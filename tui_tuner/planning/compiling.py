"""The choice to compile a model's layers: its cost at the start against its gain in each step.

Pure arithmetic. A gain is only assumed where one was measured, and none was yet: `GAINS` is where a measured
one goes, by the GPU's generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import format_seconds

PAID_BACK = 2.0  # times its cost that compiling must save: both are estimates


@dataclass(frozen=True)
class Gain:
    """The measured effect of compiling.

    Args:
        share: Of a step's time that it saves.
        seconds: That it takes before the first step.
    """

    share: float
    seconds: float


# By compute capability of the card that it was measured on
GAINS: Mapping[tuple[int, int], Gain] = {}


def choose_compile(
    device: Device,
    steps: int | None,
    step_seconds: float | None = None,
    gain: Gain | None = None,
) -> tuple[bool, str]:
    """Return what `auto` becomes for `training.compile`, and why.

    Args:
        steps: Optimizer steps of the run; None where they are not known.
        step_seconds: One of them, without compiling; None where it is not known.
        gain: What compiling was measured to do on this device; what is known of its kind where None.
    """
    if device.kind != "cuda":
        return False, _("On a processor, compiling takes longer than it saves.")
    gain = gain or GAINS.get(device.capability)
    if gain is None or gain.share <= 0:
        return False, _("No gain was measured on this kind of GPU, and compiling takes a while.")
    # Without a number of steps there is nothing to weigh the compiler's time against
    if steps is None or step_seconds is None:
        return False, _("The length of the run is not known, so compiling may not pay off.")
    saved = steps * step_seconds * gain.share
    said = {"cost": format_seconds(gain.seconds), "saved": format_seconds(saved)}
    if saved < PAID_BACK * gain.seconds:
        return False, _("Compiling takes about {cost} and would save {saved} in this run.", **said)
    return True, _(
        "Compiling takes about {cost} before the first step and saves {saved} in this run.", **said
    )
