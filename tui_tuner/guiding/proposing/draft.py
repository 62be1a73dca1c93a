"""A proposal while it is made: what is set so far, why, and what is of concern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.options import options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_path
from tui_tuner.guiding.answers import Answers
from tui_tuner.guiding.proposal import Concern, Setting
from tui_tuner.locales import _

DEMO = "demo"  # what every source of this package is called, or begins with
Said = Callable[[str], None]
Stop = Callable[[], bool]


@dataclass
class Draft:
    """Fields by their dotted names, in the order in which they are settled.

    What the answers set beside the questions (`Answers.more`) is never changed.
    """

    answers: Answers
    said: Said = lambda words: None
    stop: Stop = lambda: False
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    concerns: list[Concern] = field(default_factory=list)

    def own(self, path: str) -> bool:
        """Whether the user has set a field."""
        return path in self.answers.more

    def set(self, path: str, value: Any, why: str) -> None:
        """Settle a field, unless the user has."""
        if self.own(path):
            value, why = self.answers.more[path], _("Set by you.")
        if value != "auto":
            self.values[path] = value
        self.settings[path] = Setting(path, value, why)

    def settle(self, path: str, value: Any, why: str) -> None:
        """`set`, unless something is known already that goes before."""
        if path not in self.settings:
            self.set(path, value, why)

    def tell(self, path: str, value: Any, why: str) -> None:
        """Say what a field that is left open comes to."""
        if path not in self.settings:
            self.settings[path] = Setting(path, value, why)

    def take_own(self) -> None:
        """Settle what the user has set and no question has asked for."""
        for path, value in self.answers.more.items():
            if path not in self.settings:
                self.set(path, value, "")

    def add(self, *concerns: Concern) -> None:
        """Say what is of concern, each once."""
        known = {concern.code for concern in self.concerns}
        self.concerns += [concern for concern in concerns if concern.code not in known]

    @property
    def stuck(self) -> bool:
        """Whether something has to be dealt with before more can be said."""
        return any(concern.stops for concern in self.concerns)

    def nested(self) -> dict[str, Any]:
        """The values as a config has them."""
        made: dict[str, Any] = {}
        for path, value in {**self.values, **self.answers.more}.items():
            set_path(made, path, value)
        return made

    def config(self, also: Mapping[str, Any] | None = None) -> RunConfig:
        """The config so far, with other values for some fields.

        Raises:
            ConfigError: values that contradict each other.
        """
        made = self.nested()
        for path, value in (also or {}).items():
            set_path(made, path, value)
        return build_config(made)

    def in_order(self) -> tuple[Setting, ...]:
        """Every setting, in the order of a config."""
        order = {path: place for place, path in enumerate(options())}
        return tuple(sorted(self.settings.values(), key=lambda one: order.get(one.field, len(order))))
