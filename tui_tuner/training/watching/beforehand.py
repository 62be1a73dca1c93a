"""The plan's advice, said before the first step: what `tui-tuner estimate` says of a config."""

from __future__ import annotations

from tui_tuner.config.advice import Hint, advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration
from tui_tuner.planning.traps import advice as traps
from tui_tuner.planning.traps.findings import Advice
from tui_tuner.text import one_line
from tui_tuner.training.watching.numbers import is_news
from tui_tuner.training.watching.reporting import Reporter

ELSEWHERE = ("unread_fields", "unread_by_task", "unread_beside")  # said by `settling` for all three


def say_advice(
    reporter: Reporter,
    told: list[str],
    config: RunConfig,
    facts: ModelFacts | None,
    data: DataFacts,
    duration: Duration | None = None,
) -> None:
    """Say what is found, the serious first, and each thing once in a run.

    Args:
        told: The codes that were said; it is added to.
        config: As it was asked for: what this program chooses by itself is no trap.
    """
    try:
        found = traps.advise(config, facts, data, duration)
    except Exception as error:  # advice must not end a run
        reporter.log(_("The config could not be looked at: {error}", error=one_line(error, 200)))
        return
    for one in found:
        code = f"advice_{one.code}"
        if one.code not in ELSEWHERE and is_news(told, code):
            reporter.warn(code, one.text, hint_of(one))


def hint_of(found: Advice) -> Hint:
    """Why, and the settings that mend it."""
    if not found.fix:
        return advise(N_("{reason}", reason=found.reason))
    return advise(N_("{reason} Better: {fix}.", reason=found.reason, fix=setting(found.fix)))
