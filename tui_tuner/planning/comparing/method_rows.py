"""All methods for one model and one device, next to each other.

Every number is the planner's own for a run with that method: nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.applying import BESIDE, Get
from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import N_
from tui_tuner.planning.duration import Duration
from tui_tuner.planning.estimate import Estimate
from tui_tuner.planning.heads.parameters import Parameters

SHARE_OF_LAYERS = 4  # a quarter of the layers, where a method needs their number (arXiv 1911.03090)
USUAL, TRAINED, MEMORY, TIME, FILE = "usual", "trained", "memory", "time", "file"
ORDERS = {
    USUAL: N_("usual first"),
    TRAINED: N_("fewest trained"),
    MEMORY: N_("least memory"),
    TIME: N_("shortest time"),
    FILE: N_("smallest file"),
}


@dataclass(frozen=True)
class Figures:
    """What the planner predicts for a run with one method.

    Args:
        fits: Whether it fits the device; None if no device is named.
        file_bytes: Of the weights that are saved in the end.
        duration: None if no rows were counted.
    """

    estimate: Estimate
    fits: bool | None
    parameters: Parameters
    file_bytes: int
    duration: Duration | None

    @property
    def seconds(self) -> float | None:
        """Return the predicted seconds of the whole run; None if nothing is known."""
        return self.duration.seconds if self.duration is not None else None

    @property
    def step_seconds(self) -> float | None:
        """Return the predicted seconds of an optimizer step; None if nothing is known."""
        if self.duration is None or self.duration.seconds is None or not self.duration.work.steps:
            return None
        return self.duration.seconds / self.duration.work.steps


@dataclass(frozen=True)
class MethodRow:
    """A method with its figures, or with the reason why it has none.

    Args:
        values: The fields that a config gets to be trained with it, by dotted name.
        refusal: Why there can be no such run; None if there are figures.
        missing: Fields that the user has to fill in first.
    """

    kind: MethodKind
    values: dict[str, Any]
    figures: Figures | None = None
    refusal: TunerError | None = None
    missing: tuple[str, ...] = ()

    @property
    def merges(self) -> bool:
        """Return whether the result can be merged into the model, or is a model already."""
        return self.kind.has_trait(Trait.MERGEABLE) or not self.kind.has_trait(Trait.ADAPTER)

    @property
    def takes_quantised(self) -> bool:
        """Return whether it can be trained on top of weights in 4 or 8 bits."""
        return self.kind.has_trait(Trait.QUANTISABLE)

    @property
    def can_be_taken(self) -> bool:
        """Return whether a config can have this method, perhaps with a field to be filled in."""
        return self.figures is not None or bool(self.missing)


def compare_methods(
    get: Get,
    layers: int,
    change: Callable[[dict[str, Any]], RunConfig],
    plan: Callable[[RunConfig], Figures],
    check: Callable[[RunConfig], None],
) -> Iterator[MethodRow]:
    """Yield a row for each method, in the order of the registry.

    Args:
        get: Returns the value of a field of the config.
        layers: How many the model has.
        change: Returns the config with other values; raises `TunerError` if they do not go together.
        plan: Plans the run of a config; it is the caller's usual way, so that the numbers are the usual ones.
        check: Raises `TunerError` if the model cannot carry a config's method.
    """
    for kind in METHODS.values():
        values = choose_values(get, kind, layers)
        try:
            changed = change(values)
            check(changed)
            figures = plan(changed)
        except TunerError as problem:
            needs = {f"method.{name}" for name in kind.needs}
            missing = (problem.field,) if problem.field in needs else ()
            yield MethodRow(kind, values, refusal=problem, missing=missing)
        else:
            yield MethodRow(kind, values, figures)


def choose_values(get: Get, kind: MethodKind, layers: int) -> dict[str, Any]:
    """Return the fields that a config gets to be trained with a method: as few as possible.

    A required number of layers is a quarter of them. What the method would refuse, such as quantised weights,
    is set back to its default.
    """
    values: dict[str, Any] = {"method.kind": kind.name}
    asked, own = get("method.layers"), "pattern" in kind.fields and get("method.pattern")
    if "layers" in kind.needs and asked is None and not own:
        values["method.layers"] = max(1, layers // SHARE_OF_LAYERS)
    # 0 layers are for methods that can train a head alone
    elif asked == 0 and "layers" in kind.fields and kind.has_trait(Trait.ADAPTER):
        values["method.layers"] = None

    def get_changed(path: str) -> Any:
        return values[path] if path in values else get(path)

    for path, beside in BESIDE.items():
        default = list_options()[path].default
        if not beside.refused or get(path) in (default, False):
            continue
        if beside.holds(get) and not beside.holds(get_changed):
            values[path] = default
    return values


def sort_rows(rows: Iterable[MethodRow], order: str) -> list[MethodRow]:
    """Return rows by one of `ORDERS`; those without that number come after the others, refused ones last."""
    return sorted(rows, key=lambda row: rank_row(row, order))


def rank_row(row: MethodRow | None, order: str) -> tuple[bool, bool, float]:
    """Return what rows are sorted by; None stands for a method that is not computed yet."""
    if row is None:
        return False, True, 0.0
    number = measure_row(row, order)
    return row.figures is None, number is None, number or 0.0


def measure_row(row: MethodRow, order: str) -> float | None:
    """Return the number by which an order sorts; None if the row has none."""
    found = row.figures
    if found is None or order == USUAL:
        return None
    numbers = {
        TRAINED: found.parameters.trained,
        MEMORY: found.estimate.device,
        TIME: found.seconds,
        FILE: found.file_bytes,
    }
    return numbers[order]
