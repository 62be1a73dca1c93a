"""Report the plan's advice before the first step, the same that `tui-tuner estimate` gives for a config."""

from __future__ import annotations

from tui_tuner.config.advice import Hint, build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration
from tui_tuner.planning.traps import advice as traps
from tui_tuner.planning.traps.findings import Advice
from tui_tuner.text import one_line
from tui_tuner.training.watching.number_watch import is_new_code
from tui_tuner.training.watching.reporting import Reporter

# `settling` already warns of what these three are about.
ELSEWHERE = ("unread_fields", "unread_by_task", "unread_beside")


def report_advice(
    reporter: Reporter,
    told: list[str],
    config: RunConfig,
    facts: ModelFacts | None,
    data: DataFacts,
    duration: Duration | None = None,
) -> None:
    """Report the findings about a config, serious ones first, and each only once in a run.

    Args:
        told: The codes reported so far; new ones are added.
        config: The config as it was requested: values that this program chooses itself are no traps.
    """
    try:
        found = traps.list_trap_findings(config, facts, data, duration)
    # Advice must not end a run.
    except Exception as error:
        reporter.report_log(_("The config could not be checked: {error}", error=one_line(error, 200)))
        return
    for one in found:
        code = f"advice_{one.code}"
        if one.code not in ELSEWHERE and is_new_code(told, code):
            reporter.report_warning(code, one.text, format_finding_hint(one))


def format_finding_hint(found: Advice) -> Hint:
    """Return the reason for a finding, with the settings that fix it."""
    if not found.fix:
        return build_hint(N_("{reason}", reason=found.reason))
    return build_hint(N_("{reason} Better: {fix}.", reason=found.reason, fix=write_setting(found.fix)))
