"""Words of the answers about machine, money and judging, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.metrics import canonical
from tui_tuner.errors import ConfigError, HardwareError
from tui_tuner.locales import _
from tui_tuner.planning.gpus import Card, find_card
from tui_tuner.text import one_line

HELD_OUT = "held-out"
_HERE = ("here", "this", "this machine", "auto", "local")
_CPU = ("cpu", "processor")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME = re.compile(r"([\d.]+)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\.?", re.IGNORECASE)
_MONEY = re.compile(r"(?:[$€£¥]|usd|eur|gbp|cny)?\s*([\d.]+)\s*(?:[$€£¥]|usd|eur|gbp|cny)?", re.IGNORECASE)
_PRICE = re.compile(
    r"(?:,|\bat\b|@)\s*(?:[$€£¥])?\s*([\d.]+)\s*(?:[$€£¥])?\s*(?:/|per\s+)\s*h(?:our)?\s*$", re.IGNORECASE
)
_GPUS = re.compile(r"\d+\s*[x×*]\s*\S", re.IGNORECASE)


@dataclass(frozen=True)
class Machine:
    """Where it is trained: on this machine, on its processor, or on a GPU that is named.

    Args:
        price: Of an hour, where the words say one.
    """

    card: Card | None = None
    cpu: bool = False
    price: float | None = None

    @property
    def here(self) -> bool:
        """Whether that is this machine."""
        return self.card is None


@dataclass(frozen=True)
class Budget:
    """The most that it may cost: money, or seconds."""

    money: float | None = None
    seconds: float | None = None


def read_machine(asked: str | None) -> Machine:
    """What `here`, `cpu`, `RTX 4090`, `24 GB` or `RTX 4090 at 0.40/h` mean.

    Raises:
        ConfigError: no such GPU.
    """
    text = (asked or "here").strip()
    priced = _PRICE.search(text)
    price = _number(priced[1]) if priced else None
    text = text[: priced.start()].strip() if priced else text
    if text.lower() in _HERE:
        return Machine(price=price)
    if text.lower() in _CPU:
        return Machine(cpu=True, price=price)
    if _GPUS.match(text):
        raise ConfigError(
            _(
                "{value} are several GPUs, and several do not train one run together yet.",
                value=one_line(text),
            ),
            where="machine",
            hint=_("Name one of them."),
            field="machine",
        )
    try:
        return Machine(find_card(text), price=price)
    except HardwareError as error:
        hint = _("Or write here, or cpu.")
        raise ConfigError(
            error.what, where="machine", hint=f"{error.hint} {hint}".strip(), field="machine"
        ) from None


def read_budget(asked: str | float | None) -> Budget:
    """What `5`, `$5`, `2 h` or `30 min` mean.

    Raises:
        ConfigError: neither money nor time, or not above zero.
    """
    if asked is None:
        return Budget()
    text = str(asked).strip()
    time, money = _TIME.fullmatch(text), _MONEY.fullmatch(text)
    found = time or money
    value = _number(found[1]) if found else None
    if value is None or isinstance(asked, bool) or not 0 < value < 1e12:
        raise ConfigError(
            _("{value!r} is no amount of money or time.", value=one_line(text, 80)),
            where="budget",
            hint=_(
                "Write a number in the currency of the price, such as 5, or a time, such as 2 h or 30 min."
            ),
            field="budget",
        )
    return Budget(seconds=value * _UNITS[time[2][0].lower()]) if time else Budget(money=value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Judge:
    """How it is judged, beside the loss on held-out rows: by a metric, or by prompts of one's own."""

    best: str = ""  # measured on held-out rows
    scored: str = ""  # of answers that are generated
    prompts: tuple[str, ...] = ()


def read_judge(asked: Any, task: str) -> Judge:
    """What `held-out`, the name of a metric or a list of prompts mean for a task.

    Raises:
        ConfigError: nothing that this task can be judged by.
    """
    from tui_tuner.config.kinds import TASKS
    from tui_tuner.tasks import find_task

    if asked is None:
        return Judge()
    if isinstance(asked, list | tuple):
        prompts = tuple(item for item in asked if isinstance(item, str) and item.strip())
        if len(prompts) == len(asked) and prompts:
            return Judge(prompts=prompts)
        raise _no_judge(_("a list of prompts holds texts alone."), known_judges(task))
    name = canonical(str(asked).strip().lower().replace(" ", "_").replace("-", "_"))
    if name == HELD_OUT.replace("-", "_"):
        return Judge()
    kind, found = TASKS[task], find_task(task)
    if name in [metric.name for metric in found.metrics if metric.name not in found.kept]:
        return Judge(best=name)
    if kind.writes:
        from tui_tuner.evaluation.metrics import MEASURES

        if name in MEASURES:
            return Judge(scored=name)
    said = _("task {task} is not judged by {value!r}.", task=task, value=one_line(str(asked), 80))
    raise _no_judge(said, known_judges(task))


def known_judges(task: str) -> tuple[str, ...]:
    """What a task can be judged by: `held-out`, and the metrics that it has."""
    from tui_tuner.config.kinds import TASKS
    from tui_tuner.tasks import find_task

    found = find_task(task)
    names = [metric.name for metric in found.metrics if metric.name not in found.kept]
    if TASKS[task].writes:
        from tui_tuner.evaluation.metrics import MEASURES

        names += [name for name in MEASURES if name not in names]
    return (HELD_OUT, *names)


def _no_judge(said: str, known: tuple[str, ...]) -> ConfigError:
    hint = _("Known are {names}; or give a list of prompts.", names=", ".join(known))
    return ConfigError(said, where="judge", hint=hint, field="judge")
