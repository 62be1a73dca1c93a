"""The plan as lines of text and as JSON, for the command line and the plan screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
from tui_tuner.locales import _
from tui_tuner.methods.numbers.rates import Rule
from tui_tuner.planning.duration import Duration, Work
from tui_tuner.planning.estimate import Estimate
from tui_tuner.planning.fit import Candidate, Fit
from tui_tuner.planning.plan import Rate, Surroundings
from tui_tuner.planning.row_counting import RowCount
from tui_tuner.planning.traps.findings import Advice
from tui_tuner.text import format_bytes, format_money, format_seconds, one_line


def format_memory_lines(found: Estimate, cpu: bool = False) -> list[str]:
    """Format the estimate, number by number and row by row."""
    peak = _("peak of torch's allocator ({phase})", phase=_(found.phase))
    if cpu:
        device, whole = _("process"), _("with the process itself")
    else:
        device, whole = _("device"), _("with the CUDA context, as nvidia-smi shows it")
    figures = (
        (_("allocated"), found.allocated, peak),
        (_("reserved"), found.reserved, _("with what the allocator keeps cached")),
        (device, found.device, whole),
        (_("static"), found.static, _("between steps")),
    )
    lines = [f"{name:10} {gib:8.2f} GiB   {words}" for name, gib, words in figures]
    lines += ["", *(f"  {_(row.name):28} {row.gib:8.2f} GiB" for row in found.rows if row.gib >= 0.005)]
    small = sum(row.gib for row in found.rows if row.gib < 0.005)
    if small >= 0.005:
        lines.append(f"  {_('smaller rows'):28} {small:8.2f} GiB")
    lines += ["", *found.notes] if found.notes else []
    if not found.verified:
        doubt = _("rough figures, within about {band:.0%}: {reason}", band=found.band, reason=found.reason)
        lines += ["", doubt]
    return lines


def format_fit_lines(found: Fit) -> list[str]:
    """Format the verdict for a card, the settings behind it, and what each change would save."""
    lines = ["", found.describe_fit(), describe_memory_settings(found.config)]
    width = max((len(lever.change.label) for lever in found.levers), default=0)
    if found.levers:
        lines += ["", f"  {_('change'):{width}} {_('saves GiB'):>9}   {_('step time')}"]
    for lever in found.levers:
        mark = "" if found.fits or not lever.fits else f"   {_('then it fits')}"
        lines.append(f"  {lever.change.label:{width}} {lever.saves:9.2f}   x {lever.time:.2f}{mark}")
    return lines


def describe_memory_settings(used: ResolvedConfig) -> str:
    """Describe the settings that memory depends on most."""
    found = _describe_pass(used)
    if not used.task_kind.encoder_decoder:
        return found
    sides = _(
        "Sources of at most {source:,} tokens, targets of at most {target:,}.",
        source=used.data.max_source,
        target=used.data.max_target,
    )
    return f"{found} {sides}"


def _describe_pass(used: ResolvedConfig) -> str:
    """Describe how much is computed at once, and what is kept of it."""
    training = used.training
    said = {
        "micro_batch": training.micro_batch,
        "batch": training.batch_size,
        "optimizer": training.optimizer,
        "dtype": used.model.dtype,
    }
    if training.gradient_checkpointing == EVERY_SECOND:
        return _(
            "Micro-batch {micro_batch} of batch {batch}, with gradient checkpointing of every second layer, "
            "{optimizer}, {dtype} weights.",
            **said,
        )
    if training.gradient_checkpointing == OFFLOAD:
        return _(
            "Micro-batch {micro_batch} of batch {batch}, with gradient checkpointing and offloading, "
            "{optimizer}, {dtype} weights.",
            **said,
        )
    if training.gradient_checkpointing:
        return _(
            "Micro-batch {micro_batch} of batch {batch}, with gradient checkpointing, {optimizer}, "
            "{dtype} weights.",
            **said,
        )
    return _(
        "Micro-batch {micro_batch} of batch {batch}, without gradient checkpointing, {optimizer}, "
        "{dtype} weights.",
        **said,
    )


def explain_unfitted_figures(used: ResolvedConfig) -> list[str]:
    """Explain the basis of figures without a card."""
    return [
        describe_memory_settings(used),
        _(
            "No GPU is named, so these are the settings for a large GPU. --gpu NAME fits the run to one, "
            "--cards lists them all, --set hardware.devices=cpu fits it to this machine's RAM."
        ),
    ]


def format_surroundings_lines(found: Surroundings, counted: RowCount) -> list[str]:
    """Format learning rate, time, money and advice."""
    lines = ["", found.parameters.describe_counts()]
    lines.append(_("saved weights: {size} (predicted)", size=format_bytes(found.file_bytes)))
    lines += ["", _("learning rate  {rate:.3g}, {why}", rate=found.rate.value, why=found.rate.why)]
    for rule in found.rules:
        mark, name = mark_chosen_rule(rule, found.rate), _(rule.name)
        lines.append(f"  {mark} {name:26} {format_learning_rate(rule):>9}  {format_rate_rule(rule)}")
    lines += ["", *format_duration_lines(found.duration, counted)]
    if found.advice:
        lines += ["", _("advice")]
    for advice in found.advice:
        lines.append(f"  {'!' if advice.serious else '-'} {advice.text} {advice.reason}")
        if advice.fix:
            lines.append(f"    {format_finding_fix(advice)}")
    return lines


def mark_chosen_rule(rule: Rule, rate: Rate) -> str:
    """Return a sign for the rule that `auto` took, else a space."""
    return "*" if rate.rule == rule.name else " "


def format_learning_rate(rule: Rule) -> str:
    return "-" if rule.rate is None else f"{rule.rate:.3g}"


def format_rate_rule(rule: Rule) -> str:
    """Format a rule's formula with its inputs and source, or the input that it lacks."""
    if rule.rate is None:
        return _("needs {what}; {formula}", what=rule.missing, formula=rule.formula)
    return f"{rule.formula}  ({rule.source})" if rule.source else rule.formula


def format_finding_fix(advice: Advice) -> str:
    """Format a finding's fix as arguments of `--set`."""
    return " ".join(f"--set {path}={one_line(value)}" for path, value in (advice.fix or {}).items())


def format_duration_lines(found: Duration | None, counted: RowCount, width: int = 0) -> list[str]:
    """Format steps, tokens, arithmetic, time and money, each with its basis; wrapped at `width` cells."""
    said = _duration_words(found, counted)
    before = max(8, *(len(label) + 1 for label, _text in said))
    lines: list[str] = []
    for label, text in said:
        pieces = textwrap.wrap(text, width - before, break_on_hyphens=False) if width > 30 else [text]
        lines += [f"{label if not place else '':{before}}{piece}" for place, piece in enumerate(pieces)]
    return lines


def _duration_words(found: Duration | None, counted: RowCount) -> list[tuple[str, str]]:
    if found is None:
        return [(_("time"), _("unknown: {why}", why=counted.basis))]
    said = [(_("work"), _work_words(found.work, counted)), (_("data"), counted.basis)]
    said.append((_("FLOPs"), f"{found.work.flops:.3g} = {found.work.formula}"))
    said.append((_("time"), format_duration_words(found)))
    money = format_plan_cost(found)
    return [*said, (_("money"), money)] if money else said


def _work_words(work: Work, counted: RowCount) -> str:
    """Describe steps and tokens, and whether the tokens are exact."""
    steps, tokens, trained = work.steps, work.tokens, work.supervised
    if counted.facts is None or counted.facts.tokens is None:
        return _(
            "{steps:,} steps, at most {tokens:,} tokens (every row counted as max_length)",
            steps=steps,
            tokens=tokens,
        )
    if trained is None:
        if counted.exact:
            return _("{steps:,} steps, {tokens:,} tokens", steps=steps, tokens=tokens)
        return _("{steps:,} steps, about {tokens:,} tokens", steps=steps, tokens=tokens)
    said = {"steps": steps, "tokens": tokens, "trained": trained}
    if work.sided:
        read = tokens - trained
        if counted.exact:
            return _(
                "{steps:,} steps, {tokens:,} tokens: {read:,} that the encoder reads, {trained:,} that the "
                "decoder learns to write",
                read=read,
                **said,
            )
        return _(
            "{steps:,} steps, about {tokens:,} tokens: {read:,} that the encoder reads, {trained:,} that the "
            "decoder learns to write",
            read=read,
            **said,
        )
    if counted.exact:
        return _("{steps:,} steps, {tokens:,} tokens, {trained:,} of them trained", **said)
    return _("{steps:,} steps, about {tokens:,} tokens, {trained:,} of them trained", **said)


def format_duration_words(found: Duration) -> str:
    """Format the duration with its range and basis."""
    if found.seconds is None or found.low is None or found.high is None:
        return _("unknown: {why}", why=found.basis)
    return _(
        "{time} ({low} to {high}), from {basis}",
        time=format_seconds(found.seconds),
        low=format_seconds(found.low),
        high=format_seconds(found.high),
        basis=found.basis,
    )


def format_plan_cost(found: Duration) -> str:
    """Format the cost and its upper end; empty without a price."""
    if found.cost is None or found.cost_high is None:
        return ""
    return _("{cost}, up to {most}", cost=format_money(found.cost), most=format_money(found.cost_high))


def format_card_table(found: Iterable[tuple[Candidate, Duration | None]]) -> list[str]:
    """Format the table of GPUs: memory, verdict, and the time of the run on one and on several of them."""
    head = f"  {_('GPU'):18} {_('usable'):>10}  {_('wanted'):>10}  {'':9}  {_('time on 1, 2, 4, 8')}"
    lines = ["", head]
    for candidate, duration in found:
        seconds = duration.seconds if duration else None
        time = "" if seconds is None else format_seconds(seconds) if candidate.fits else _("too small")
        if candidate.count > 1:
            lines[-1] += f", {time}" if time else ""
            continue
        card, wanted = candidate.card, candidate.estimate.safe_limit
        verdict = _("fits") if candidate.fits else _("too small")
        head = f"  {card.name:18} {card.usable:6.1f} GiB  {wanted:6.1f} GiB  {verdict:9}"
        lines.append(f"{head}  {time}" if candidate.fits else head)
    note = _("Each of several GPUs holds a copy of the model: they save time, not memory.")
    return [*lines, f"  {note}"]


def convert_cards_to_json(found: Iterable[tuple[Candidate, Duration | None]]) -> list[dict[str, Any]]:
    """Return the JSON of the table of GPUs; `seconds` is null if nothing is known of the data."""
    return [
        {
            "name": one.card.name,
            "count": one.count,
            "usable_gib": one.card.usable,
            "fits": one.fits,
            "device_gib": one.estimate.device,
            "wanted_gib": one.estimate.safe_limit,
            "seconds": duration.seconds if duration else None,
        }
        for one, duration in found
    ]


def convert_fit_to_json(found: Fit | None) -> dict[str, Any]:
    """Return the JSON of a fit; empty without a card."""
    if found is None:
        return {}
    return {
        "gpu": found.card.name,
        "fits": found.fits,
        "usable_gib": found.card.usable,
        "wanted_gib": found.estimate.safe_limit,
        "levers": [
            {
                "path": lever.change.path,
                "value": lever.change.value,
                "saves_gib": lever.saves,
                "time": lever.time,
                "fits": lever.fits,
            }
            for lever in found.levers
        ],
        "smallest": {change.path: change.value for change in found.smallest},
    }


def convert_surroundings_to_json(found: Surroundings, counted: RowCount) -> dict[str, Any]:
    """Return the JSON of learning rate, work, time and money (null if unknown), and advice."""
    return {
        **found.parameters.to_json(),
        "file_bytes": found.file_bytes,
        "data": counted.to_json(),
        "learning_rate": {
            "rate": found.rate.value,
            "rule": found.rate.rule or None,
            "why": found.rate.why,
            "rules": [
                {
                    "name": rule.name,
                    "rate": rule.rate,
                    "formula": rule.formula,
                    "source": rule.source,
                    "inputs": rule.inputs,
                    "missing": rule.missing or None,
                }
                for rule in found.rules
            ],
        },
        "time": _duration_json(found.duration),
        "advice": [
            {
                "code": one.code,
                "text": one.text,
                "reason": one.reason,
                "fix": one.fix,
                "serious": one.serious,
            }
            for one in found.advice
        ],
    }


def _duration_json(found: Duration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "steps": found.work.steps,
        "tokens": found.work.tokens,
        "supervised_tokens": found.work.supervised,
        "flops": found.work.flops,
        "formula": found.work.formula,
        "seconds": found.seconds,
        "seconds_low": found.low,
        "seconds_high": found.high,
        "cost": found.cost,
        "cost_high": found.cost_high,
        "basis": found.basis,
    }
