"""Format the larger parts of a journal as text: the row ledger, time, memory, kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.locales import N_, _, _n, recall_sentence
from tui_tuner.runs.events import Memory, RunDuration, VocabularyGrown
from tui_tuner.text import format_bytes, format_money, format_seconds, one_line

REASONS_SHOWN = 5
# Parts of a model, as `kernels` events name them.
PARTS = (
    N_("attention"),
    N_("lora"),
    N_("norm"),
    N_("rotary"),
    N_("mlp"),
    N_("head"),
    N_("compile"),
)


def format_ledger_event(ledger: Mapping[str, Any]) -> list[str]:
    """Format a `ledger` event: its sums, then the reasons why rows were changed or left out."""
    outcomes, read = ledger.get("outcomes") or {}, ledger.get("read", 0)
    parts = ", ".join(f"{_(one_line(name))} {count:,}" for name, count in outcomes.items() if count)
    if parts:
        lines = [_("rows: read {read:,} = {parts}", read=read, parts=parts)]
    else:
        lines = [_("rows: read {read:,}", read=read)]
    lines += [_reason_line(reason) for reason in (ledger.get("reasons") or [])[:REASONS_SHOWN]]
    lines += [_step_line(step) for step in (ledger.get("steps") or [])[:REASONS_SHOWN]]
    splits = ledger.get("splits") or {}
    if splits:
        trained, held = splits.get("training_pieces", 0), splits.get("validation_pieces", 0)
        lines.append(
            _("rows: {trained:,} sequences to train on, {held:,} held out", trained=trained, held=held)
        )
    return lines


def _step_line(step: Mapping[str, Any]) -> str:
    """Format a change to rows, or a remark on them such as an unused column."""
    what = one_line(_(recall_sentence(step.get("step"), step.get("made"))), 120)
    return _("rows: {count:,}: {what}", count=step.get("count", 0), what=what)


def _reason_line(reason: Mapping[str, Any]) -> str:
    said = {
        "count": reason.get("count", 0),
        "outcome": _(one_line(reason.get("outcome"))),
        "why": one_line(_(recall_sentence(reason.get("reason"), reason.get("made"))), 120),
    }
    samples = reason.get("samples") or []
    if not samples:
        return _("rows: {count:,} {outcome}: {why}", **said)
    first = one_line(samples[0].get("origin"), 120)
    return _("rows: {count:,} {outcome}: {why}, the first {first}", first=first, **said)


def format_vocabulary_event(body: VocabularyGrown) -> str:
    """Format how many new tokens a run has, and what they save."""
    words = ", ".join(one_line(word, 40).strip() for word in body.samples)
    said = _n("{count:,} new token", "{count:,} new tokens", body.tokens, count=body.tokens)
    if words:
        said = _("{said}, such as {words}", said=said, words=words)
    if body.before and body.after:
        said = _(
            "{said}: {before:.2f} characters per token became {after:.2f} in the training rows",
            said=said,
            before=body.before,
            after=body.after,
        )
    if body.held_before and body.held_after:
        said = _(
            "{said}, {before:.2f} became {after:.2f} in held-out rows",
            said=said,
            before=body.held_before,
            after=body.held_after,
        )
    return said


def format_duration_event(body: RunDuration) -> str:
    """Format how long a run takes, and its cost if a price is known."""
    said = {
        "time": format_seconds(body.seconds),
        "low": format_seconds(body.low),
        "high": format_seconds(body.high),
        "basis": one_line(body.basis),
    }
    if said["low"] == said["high"]:
        return _line_without_range(body)
    if body.cost is None or body.cost_high is None:
        line = _("the whole run takes about {time} ({low} to {high}), from {basis}", **said)
    else:
        line = _(
            "the whole run takes about {time} ({low} to {high}), costs {cost} (up to {most}), from {basis}",
            cost=format_money(body.cost),
            most=format_money(body.cost_high),
            **said,
        )
    return line


def _line_without_range(body: RunDuration) -> str:
    time, basis = format_seconds(body.seconds), one_line(body.basis)
    if body.cost is None:
        return _("the whole run takes about {time}, from {basis}", time=time, basis=basis)
    cost = format_money(body.cost)
    return _(
        "the whole run takes about {time}, costs {cost}, from {basis}", time=time, cost=cost, basis=basis
    )


def format_memory_event(body: Memory) -> str:
    """Format measured and predicted memory; empty if one of them is unknown."""
    measured, predicted = body.allocated, body.predicted_allocated
    if measured is None or predicted is None:
        return ""
    said = {"measured": format_bytes(measured), "predicted": format_bytes(predicted)}
    if predicted > 0:
        share = measured / predicted - 1
        line = _("memory peak {measured}, predicted {predicted} ({share:+.1%})", share=share, **said)
    else:
        line = _("memory peak {measured}, predicted {predicted}", **said)
    return line


def describe_kernel_entries(chosen: Iterable[Any]) -> list[tuple[str, str, str]]:
    """Return part, kernel with its number of layers, and reason for each intact entry of `kernels`."""
    found = []
    for one in chosen:
        if not isinstance(one, Mapping) or not one.get("part"):
            continue
        kernel, layers = one_line(one.get("kernel") or "", 60) or _("the model's own"), one.get("layers")
        if isinstance(layers, int) and layers:
            kernel = f"{kernel} ({layers:,})"
        found.append((_(one_line(one["part"], 20)), kernel, one_line(one.get("why") or "", 300)))
    return found


def format_kernels_event(chosen: Iterable[Any]) -> str:
    """Format the kernels of a model in one line; empty if nothing is known."""
    parts = ", ".join(f"{part} {kernel}" for part, kernel, _why in describe_kernel_entries(chosen))
    return _("kernels: {parts}", parts=parts) if parts else ""


def format_gpu_use(mfu: float | None, busy: float | None) -> list[str]:
    """Format how well a GPU is used, as far as it was measured."""
    found = [] if mfu is None else [_("MFU {share:.1%}", share=mfu)]
    return found if busy is None else [*found, _("GPU busy {share:.0%}", share=busy)]
