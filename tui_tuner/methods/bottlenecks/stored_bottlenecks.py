"""Saved bottleneck adapters, found by the name of a run or a folder and read without a training library."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.locales import _
from tui_tuner.methods.stored import CONFIG, Stored, read_stored
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

FIELD = "method.adapters"
FEWEST = 2
_FUSED_STYLES = ("pfeiffer", "houlsby")
STYLES = (*_FUSED_STYLES, "parallel")
FUNCTIONS = ("relu", "gelu", "swish", "tanh", "leakyrelu")
MOST_SIZE = 65_536


@dataclass(frozen=True)
class SavedBottleneck:
    """A bottleneck adapter in a folder.

    Args:
        name: As it was asked for.
        folder: Where its files are.
        stored: Its settings and shapes.
    """

    name: str
    folder: Path
    stored: Stored

    @property
    def short_name(self) -> str:
        """What a fusion calls it, which is the name of a folder too."""
        name = Path(self.name).name
        return name if name not in ("", "..") else self.folder.resolve().name

    @property
    def style(self) -> str:
        return str(self.stored.settings.get("style"))

    @property
    def layers(self) -> int | None:
        """The last layers that it sits in; None is all of them."""
        return self.stored.settings.get("layers")

    @property
    def size(self) -> int:
        return int(self.stored.settings["size"])

    @property
    def width(self) -> int:
        """Width of the model that it was made for."""
        downs = [
            shape for name, shape in self.stored.shapes.items() if name.endswith("bottleneck_down.weight")
        ]
        return downs[0][1] if downs else 0

    @property
    def places(self) -> frozenset[str]:
        """Names of the modules that it sits at."""
        ends = ".bottleneck_down.weight"
        return frozenset(name.removesuffix(ends) for name in self.stored.shapes if name.endswith(ends))

    @property
    def base(self) -> str:
        """The model that it was trained on."""
        return str(self.stored.settings.get("base_model_name_or_path") or "")

    def describe_adapter(self) -> dict[str, Any]:
        """Return what a fusion keeps of it."""
        settings = self.stored.settings
        return {
            "name": self.short_name,
            "size": self.size,
            "non_linearity": str(settings["non_linearity"]),
            "scaling": float(settings["scaling"]),
        }


def read_adapters(names: Sequence[str], runs: str) -> list[SavedBottleneck]:
    """Read the adapters of a fusion, and check that they go together.

    Args:
        names: Runs or folders.
        runs: The folder that holds all runs.

    Raises:
        ConfigError: one is missing or no bottleneck adapter, or they were made for different models or
        layers.
    """
    found = [_read_adapter(name, runs) for name in names]
    if len(found) < FEWEST:
        raise refuse_adapter(_("fusion takes two adapters or more."), "")
    first = found[0]
    for other in found[1:]:
        _check_pair(first, other)
    return found


def place_adapters(names: Sequence[str], runs: str) -> list[str]:
    """Return the folder of each adapter; a name that none is found for stays as it is."""
    placed = []
    for name in names:
        try:
            placed.append(str(_find_folder(name, runs).absolute()))
        except TunerError:
            placed.append(name)
    return placed


def read_settings(folder: str) -> dict[str, Any]:
    """Return the settings of a bottleneck adapter, whose weights need not be there; empty if it is none."""
    try:
        found = json.loads((Path(folder).expanduser() / CONFIG).read_text(encoding="utf-8"))
        return check_settings(found)
    except (OSError, ValueError, RecursionError):
        return {}


def check_settings(settings: Any) -> dict[str, Any]:
    """Return settings whose values are of the types and sizes that a bottleneck adapter has.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(settings, dict) or settings.get("peft_type") != "BOTTLENECK":
        raise ValueError(_("no bottleneck adapter"))
    size, layers, scaling = settings.get("size"), settings.get("layers"), settings.get("scaling")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MOST_SIZE:
        raise ValueError(_("its size is damaged"))
    if layers is not None and (
        isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= 10_000
    ):
        raise ValueError(_("its number of layers is damaged"))
    if isinstance(scaling, bool) or not isinstance(scaling, int | float) or not math.isfinite(scaling):
        raise ValueError(_("its scaling is damaged"))
    if settings.get("style") not in STYLES or settings.get("non_linearity") not in FUNCTIONS:
        raise ValueError(_("its style or non-linearity is unknown"))
    return settings


def _read_adapter(name: str, runs: str) -> SavedBottleneck:
    folder = _find_folder(name, runs)
    try:
        stored = read_stored(folder)
    except TunerError as error:
        raise refuse_adapter(error.what, name) from error
    settings = stored.settings
    if settings.get("peft_type") != "BOTTLENECK":
        kind = one_line(settings.get("peft_type") or _("no adapter"), 40)
        raise refuse_adapter(_("fusion takes bottleneck adapters, and this is {kind}.", kind=kind), name)
    try:
        check_settings(settings)
    except ValueError as error:
        raise refuse_adapter(
            _("its adapter_config.json does not fit: {problem}.", problem=str(error)), name
        ) from None
    if settings.get("style") not in _FUSED_STYLES:
        raise refuse_adapter(
            _("fusion takes Pfeiffer and Houlsby adapters; this one is parallel to its block."), name
        )
    if settings.get("layer_norm", "none") != "none":
        raise refuse_adapter(
            _("fusion takes adapters without a norm of their own (method.layer_norm none)."), name
        )
    return SavedBottleneck(name, folder, stored)


def _find_folder(name: str, runs: str) -> Path:
    """Return the folder with an adapter's files, of a run its best one."""
    for path in (Path(name).expanduser(), Path(runs).expanduser() / name):
        if (path / CONFIG).is_file():
            return path
    try:
        run: RunFolder = RunStore(runs).find_run(name)
    except TunerError:
        raise refuse_adapter(_("is neither a run nor the folder of an adapter."), name) from None
    for place in (run.best_path, run.last_path):
        if (place / CONFIG).is_file():
            return place
    raise refuse_adapter(_("this run has saved no adapter."), name)


def _check_pair(first: SavedBottleneck, other: SavedBottleneck) -> None:
    """Raise `ConfigError` unless two adapters sit at the same places of the same model."""
    names = {"first": one_line(first.name, 80), "other": one_line(other.name, 80)}
    if first.width != other.width or _shorten_base(first.base) != _shorten_base(other.base):
        raise refuse_adapter(
            _(
                "was made for another model ({base}, {width} wide) than {first} ({first_base}, {first_width} "
                "wide).",
                base=one_line(other.base, 80),
                width=other.width,
                first_base=one_line(first.base, 80),
                first_width=first.width,
                **names,
            ),
            other.name,
        )
    if first.style != other.style:
        raise refuse_adapter(
            _(
                "is a {style} adapter, and {first} is a {first_style} one: they sit at different places.",
                style=other.style,
                first_style=first.style,
                **names,
            ),
            other.name,
        )
    if len(first.places) != len(other.places) or first.layers != other.layers:
        raise refuse_adapter(
            _(
                "sits at {places} places, {first} at {first_places}: they were made for different layers.",
                places=len(other.places),
                first_places=len(first.places),
                **names,
            ),
            other.name,
        )


def _shorten_base(base: str) -> str:
    """Return a model's name in one form: a folder may have been named with and without its full path."""
    return str(Path(base).expanduser().resolve()) if Path(base).expanduser().is_dir() else base


def check_width(adapters: Sequence[SavedBottleneck], width: int, base: str) -> None:
    """Raise `ConfigError` for adapters that were made for another model than the run's.

    Args:
        width: Of the run's model.
        base: Its name.
    """
    first = adapters[0]
    if first.width != width or (first.base and base and _shorten_base(first.base) != _shorten_base(base)):
        raise refuse_adapter(
            _(
                "was made for {made_for}, {made_width} wide; this run trains {base}, {width} wide.",
                made_for=one_line(first.base, 80),
                made_width=first.width,
                base=one_line(base, 80),
                width=width,
            ),
            first.name,
        )


def refuse_adapter(what: str, name: str) -> ConfigError:
    """Return the error for an adapter that cannot be fused."""
    return ConfigError(
        what,
        where=one_line(name, 200) if name else FIELD,
        field=FIELD,
        hint=_("Name runs or folders of bottleneck adapters that were trained on this model alike."),
    )
