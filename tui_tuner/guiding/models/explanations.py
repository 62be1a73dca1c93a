"""How well a kind of model suits a task, and the reasons for a model's rank in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.guiding.models.candidates import FOLDER, PACKAGE, RUN
from tui_tuner.guiding.models.fitting import CHANGED, FITS, MISFIT, UNSUITED, ModelFit
from tui_tuner.locales import _
from tui_tuner.models.cards.published import BASE, CHAT, ENCODER, REWRITER
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import format_bytes, format_money, format_rough_seconds, one_line

if TYPE_CHECKING:
    from tui_tuner.guiding.models.choice import Choice

_NAMED = 4  # languages of a card that are listed


def rank_model_kind(kind: str, task: TaskKind) -> int:
    """Return 0 if a kind of model is made for a task, 1 if it is usable, 2 if it cannot be used."""
    if not task.writes:
        if kind == ENCODER:
            return 0
        return 2 if task.hides and kind else 1
    # A kind that is not known may be any
    if kind and (kind == REWRITER) != task.encoder_decoder:
        return 2
    if task.encoder_decoder:
        return 0 if kind else 1
    best = BASE if task.plain_text else CHAT
    return 0 if kind == best else 1


def explain_model_kind(kind: str, task: TaskKind) -> str:
    """Explain the kind of a model and what it means for a task."""
    if kind == REWRITER:
        if task.encoder_decoder:
            return _("It reads a text and writes another, which is what this task teaches.")
        return _("It reads a text and writes another, which is another task than this.")
    if task.encoder_decoder and kind != ENCODER:
        return _("It continues what it reads; this task needs a model that reads with one half of it.")
    if kind == ENCODER:
        if task.writes:
            return _("It is an encoder and cannot write.")
        if task.hides:
            return _("It is an encoder that learned by guessing hidden words, as it will here.")
        return _("It is an encoder, which is best for deciding something about a text.")
    if not task.writes:
        return _("It is made to write; it can learn to decide, but an encoder does so with less.")
    if kind == CHAT:
        if task.plain_text:
            return _("It is tuned to answer, and training on plain text makes it forget some of that.")
        return _("It is tuned to answer already, so it has less to learn.")
    if kind == BASE:
        if task.plain_text:
            return _("It continues text, which is what this task teaches.")
        return _("It continues text and must learn to answer first.")
    return _("Whether it is tuned to answer is unknown.")


def explain_model_rank(
    choice: Choice,
    fitted: ModelFit,
    task: TaskKind,
    rows: DataFacts,
    languages: Sequence[str],
    machine: str,
) -> str:
    """Explain a model's rank: memory, time, kind, languages and licence, as far as they matter."""
    said = [describe_model_memory(choice, fitted, machine), describe_model_time(fitted, rows, choice)]
    if choice.origin == PACKAGE:
        said.append(_("A toy model of this package, for trying things out."))
    elif choice.state != UNSUITED:
        said.append(explain_model_kind(choice.kind, task))
    if choice.origin == FOLDER:
        said.append(_("It is in this folder or below it."))
    if choice.origin == RUN:
        said.append(_("One of your runs made it, so it is already trained on something else."))
    said += [
        describe_language_match(choice, languages),
        describe_model_terms(choice),
        describe_model_download(choice),
    ]
    return " ".join(filter(None, said))


def describe_model_memory(choice: Choice, fitted: ModelFit, machine: str) -> str:
    """State whether it fits, in GiB."""
    told = {"needs": choice.needs, "there": choice.there, "machine": one_line(machine)}
    if choice.state == FITS:
        return _("Fits {machine}: needs {needs:.1f} of {there:.1f} GiB.", **told)
    if choice.state == CHANGED:
        return _(
            "Fits {machine} with {changes}: needs {needs:.1f} of {there:.1f} GiB.", changes=fitted.why, **told
        )
    if fitted.weights:
        return _("Does not fit {machine}: its weights alone need {needs:.1f} of {there:.1f} GiB.", **told)
    if choice.state == MISFIT and choice.needs:
        return _("Does not fit {machine}: needs {needs:.1f} of {there:.1f} GiB.", **told)
    return fitted.why


def describe_model_time(fitted: ModelFit, rows: DataFacts, choice: Choice) -> str:
    """State how long these rows take, and what they cost."""
    if fitted.seconds is None or not choice.fits_machine:
        return ""
    told = {"time": format_rough_seconds(fitted.seconds[1]), "rows": rows.rows}
    # Without counted rows, the time is stated for assumed rows, so that it is not mistaken for the user's
    if choice.seconds is None:
        return _("1,000 rows of 200 tokens would take about {time}.", time=told["time"])
    if choice.cost is not None:
        said = _(
            "About {time} and {money} for these {rows:,} rows.",
            money=format_money(max(0.01, choice.cost[1])),
            **told,
        )
    else:
        said = _("About {time} for these {rows:,} rows.", **told)
    return f"{said} {_('That is more than the budget.')}" if choice.within is False else said


def describe_language_match(choice: Choice, asked: Sequence[str]) -> str:
    """State whether its card names the languages asked for."""
    if not asked or choice.origin == PACKAGE:
        return ""
    wanted = ", ".join(one_line(code, 12) for code in asked)
    if choice.speaks is None:
        return _("Its card does not say whether it knows {wanted}.", wanted=wanted)
    if choice.speaks:
        return _("According to its card, it knows {wanted}.", wanted=wanted)
    return _(
        "Its card names {known}, not {wanted}.", known=list_card_languages(choice.languages), wanted=wanted
    )


def list_card_languages(known: Sequence[str]) -> str:
    """List the languages of a card in a few words: `en, fr, de, es and 9 more`; empty if it names none."""
    named = ", ".join(one_line(code, 12) for code in known[:_NAMED])
    if len(known) <= _NAMED:
        return named
    return _("{named} and {more} more", named=named, more=len(known) - _NAMED)


def describe_model_terms(choice: Choice) -> str:
    """State the licence, and whether access must be requested."""
    licence = one_line(choice.licence, 40)
    if choice.gated and not choice.here:
        if licence:
            return _("Gated ({licence}): log in to its hub and accept its terms first.", licence=licence)
        return _("Gated: log in to its hub and accept its terms first.")
    if licence:
        return _("Licence {licence}.", licence=licence)
    return "" if choice.here else _("Its licence is unknown.")


def describe_model_download(choice: Choice) -> str:
    """State the size of the download."""
    if choice.here:
        return ""
    if choice.fetch is None:
        return _("It must be downloaded first; its size is unknown.")
    return _("{size} must be downloaded first.", size=format_bytes(choice.fetch))
