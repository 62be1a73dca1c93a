"""A proposal in the making: the values set so far, their reasons, and the concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_config_path
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.guiding.proposal import Concern, Setting
from tui_tuner.locales import _

DEMO = "demo"  # the name, or its beginning, of every data source in this package
Said = Callable[[str], None]
Stop = Callable[[], bool]


@dataclass
class Draft:
    """Collects values by dotted field names, in the order in which they are settled.

    Fields that the user set directly (`Answers.more`) are never changed.
    """

    answers: Answers
    said: Said = lambda words: None
    stop: Stop = lambda: False
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    concerns: list[Concern] = field(default_factory=list)

    def has_own(self, path: str) -> bool:
        """Return whether the user has set a field directly."""
        return path in self.answers.more

    def set_field(self, path: str, value: Any, why: str) -> None:
        """Set a field and its reason; a value of the user's own takes precedence."""
        if self.has_own(path):
            value, why = self.answers.more[path], _("Set by you.")
        # `auto` is shown but not written: fields missing from a config are resolved when the run starts
        if value != "auto":
            self.values[path] = value
        self.settings[path] = Setting(path, value, why)

    def settle_field(self, path: str, value: Any, why: str) -> None:
        """Set a field that has no value yet."""
        if path not in self.settings:
            self.set_field(path, value, why)

    def show_default(self, path: str, value: Any, why: str) -> None:
        """Show what a field left at `auto` will become, without setting it in the config."""
        if path not in self.settings:
            self.settings[path] = Setting(path, value, why)

    def add_own_fields(self) -> None:
        """Add the user's own fields that none of the questions covers."""
        for path, value in self.answers.more.items():
            if path not in self.settings:
                self.set_field(path, value, "")

    def add_concerns(self, *concerns: Concern) -> None:
        """Add concerns; of several with the same code, the first stays."""
        # The look at the data comes first and names places in the file, so its concerns are better than later
        # ones
        known = {concern.code for concern in self.concerns}
        self.concerns += [concern for concern in concerns if concern.code not in known]

    @property
    def is_blocked(self) -> bool:
        """Return whether a concern must be resolved before the proposal can continue."""
        return any(concern.stops for concern in self.concerns)

    def nest_values(self) -> dict[str, Any]:
        """Return the values as nested mappings, the shape that `build_config` takes."""
        made: dict[str, Any] = {}
        # The user's own fields come last, so they win
        for path, value in {**self.values, **self.answers.more}.items():
            set_config_path(made, path, value)
        return made

    def build_config_so_far(self, also: Mapping[str, Any] | None = None) -> RunConfig:
        """Build the config so far, with other values for some fields.

        Raises:
            ConfigError: values that contradict each other.
        """
        made = self.nest_values()
        for path, value in (also or {}).items():
            set_config_path(made, path, value)
        return build_config(made)

    def sort_settings(self) -> tuple[Setting, ...]:
        """Return every setting in the order of the config's own fields."""
        # The order of settling follows from what depends on what, which is of no interest to a reader
        order = {path: place for place, path in enumerate(list_options())}
        return tuple(sorted(self.settings.values(), key=lambda one: order.get(one.field, len(order))))
