"""Parses the answers about machine, budget and judging."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.metrics import ALIASES
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.guiding.machine import CPU, HERE, Budget, Machine, find_machine, parse_budget
from tui_tuner.locales import _
from tui_tuner.text import one_line

HELD_OUT = "held-out"
_HERE = ("this", "this machine", "auto", "local", "gpu")
_CPU = ("processor",)
_PRICE = re.compile(
    r"(?:,|\bat\b|@)\s*(?:[$€£¥])?\s*(\d+(?:\.\d+)?)\s*(?:[$€£¥])?\s*(?:/|per\s+|an\s+)\s*h(?:our)?\s*$",
    re.IGNORECASE,
)


def parse_machine_answer(asked: str | None) -> tuple[Machine, float | None]:
    """Parse `here`, `cpu`, `RTX 4090`, `24 GB` or `RTX 4090 at 0.40/h` into (machine, price of an hour).

    Raises:
        ConfigError: an unknown GPU, an ambiguous name, or several GPUs.
    """
    text = (asked or HERE).strip()
    priced = _PRICE.search(text)
    price = float(priced[1]) if priced else None
    # The price is cut off first, as the rest must be exactly a GPU's name
    text = text[: priced.start()].strip() if priced else text
    plain = text.lower()
    try:
        found = find_machine(HERE if plain in _HERE else CPU if plain in _CPU else text)
    except TunerError as error:
        hint = f"{error.hint} {_('Or write “here” or “cpu”.')}".strip()
        # An error of the catalogue of GPUs knows no answer; with the key, a file of answers can add its line
        raise ConfigError(error.what, where="machine", hint=hint, field="machine") from None
    if found.devices > 1:
        raise ConfigError(
            _(
                "{value} means several GPUs, and a run cannot use more than one yet.",
                value=one_line(text, 80),
            ),
            where="machine",
            hint=_("Name one of them."),
            field="machine",
        )
    return found, price


def parse_limit_answer(asked: str | float | None, price: float | None = None) -> Budget:
    """Parse a budget such as `5`, `$5`, `2 h` or `30 min`.

    Raises:
        ConfigError: neither money nor time, or not above zero.
    """
    try:
        return parse_budget(asked, price)
    except ConfigError as error:
        raise ConfigError(error.what, where="budget", hint=error.hint, field="budget") from None


@dataclass(frozen=True)
class Judge:
    """How the result is judged, in addition to the loss on held-out rows."""

    best: str = ""  # measured on held-out rows
    scored: str = ""  # of answers that are generated
    prompts: tuple[str, ...] = ()  # answered before and after, for the user to read


def parse_judge_answer(asked: Any, task: str) -> Judge:
    """Parse `held-out`, the name of a metric or a list of prompts for a task.

    Raises:
        ConfigError: this task cannot be judged by it.
    """
    from tui_tuner.tasks import find_task

    if asked is None:
        return Judge()
    # Only a file of answers can hold a list; on the screen prompts are typed one by one
    if isinstance(asked, list | tuple):
        prompts = tuple(item for item in asked if isinstance(item, str) and item.strip())
        if len(prompts) == len(asked) and prompts:
            return Judge(prompts=prompts)
        raise _refuse_judge(_("a list of prompts may hold only texts."), list_judges(task))
    # People write “Exact match” or “exact-match” for exact_match, and “ROUGE-L” for rougeL
    known = {_fold_name(name): name for name in list_judges(task)}
    current = {_fold_name(old): _fold_name(new) for old, new in ALIASES.items()}
    folded = _fold_name(str(asked))
    name = known.get(current.get(folded, folded), "")
    if name == HELD_OUT:
        return Judge()
    if name:
        # Metrics of generated answers are independent of the task's own metrics
        measured = name in [metric.name for metric in find_task(task).metrics]
        return Judge(best=name) if measured else Judge(scored=name)
    said = _("task {task} cannot be judged by {value!r}.", task=task, value=one_line(str(asked), 80))
    raise _refuse_judge(said, list_judges(task))


def list_judges(task: str) -> tuple[str, ...]:
    """List what a task can be judged by: `held-out` and its metrics."""
    from tui_tuner.config.kinds.tasks import TASKS
    from tui_tuner.tasks import find_task

    found = find_task(task)
    names = [metric.name for metric in found.metrics if metric.name not in found.kept]
    if TASKS[task].writes:
        from tui_tuner.evaluation.metrics import MEASURES

        names += [name for name in MEASURES if name not in names]
    return (HELD_OUT, *names)


def _fold_name(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _refuse_judge(said: str, known: tuple[str, ...]) -> ConfigError:
    hint = _("Known are {names}; or give a list of prompts.", names=", ".join(known))
    return ConfigError(said, where="judge", hint=hint, field="judge")
