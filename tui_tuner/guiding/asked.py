"""Words of the answers about machine, money and judging, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.metrics import canonical
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.guiding.machine import CPU, HERE, Budget, Machine, find_machine, read_budget
from tui_tuner.locales import _
from tui_tuner.text import one_line

HELD_OUT = "held-out"
_HERE = ("this", "this machine", "auto", "local", "gpu")
_CPU = ("processor",)
_PRICE = re.compile(
    r"(?:,|\bat\b|@)\s*(?:[$€£¥])?\s*(\d+(?:\.\d+)?)\s*(?:[$€£¥])?\s*(?:/|per\s+|an\s+)\s*h(?:our)?\s*$",
    re.IGNORECASE,
)


def read_machine(asked: str | None) -> tuple[Machine, float | None]:
    """What `here`, `cpu`, `RTX 4090`, `24 GB` or `RTX 4090 at 0.40/h` mean: a machine, and its price.

    Raises:
        ConfigError: no such GPU, or several.
    """
    text = (asked or HERE).strip()
    priced = _PRICE.search(text)
    price = float(priced[1]) if priced else None
    text = text[: priced.start()].strip() if priced else text
    plain = text.lower()
    try:
        found = find_machine(HERE if plain in _HERE else CPU if plain in _CPU else text)
    except TunerError as error:
        hint = f"{error.hint} {_('Or write here, or cpu.')}".strip()
        raise ConfigError(error.what, where="machine", hint=hint, field="machine") from None
    if found.devices > 1:
        raise ConfigError(
            _(
                "{value} are several GPUs, and several do not train one run together yet.",
                value=one_line(text, 80),
            ),
            where="machine",
            hint=_("Name one of them."),
            field="machine",
        )
    return found, price


def read_limit(asked: str | float | None, price: float | None = None) -> Budget:
    """What `5`, `$5`, `2 h` or `30 min` mean.

    Raises:
        ConfigError: neither money nor time, or not above zero.
    """
    try:
        return read_budget(asked, price)
    except ConfigError as error:
        raise ConfigError(error.what, where="budget", hint=error.hint, field="budget") from None


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
