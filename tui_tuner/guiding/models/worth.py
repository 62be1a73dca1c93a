"""What a kind of model is worth for a task, and why a model stands where it stands, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui_tuner.config.kinds import TaskKind
from tui_tuner.guiding.models.candidates import FOLDER, PACKAGE, RUN
from tui_tuner.guiding.models.fitting import CHANGED, FITS, MISFIT, UNSUITED, Fitted
from tui_tuner.locales import _
from tui_tuner.models.cards.published import BASE, CHAT, ENCODER
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import human_bytes, human_money, one_line, rough_seconds

if TYPE_CHECKING:
    from tui_tuner.guiding.models.choice import Choice

_NAMED = 4  # languages of a card


def suits(kind: str, task: TaskKind) -> int:
    """0 where this kind of model is made for a task, 1 where it will do, 2 where it cannot be used."""
    if not task.writes:
        return 0 if kind == ENCODER else 1
    if kind == ENCODER:
        return 2
    best = BASE if task.plain_text else CHAT
    return 0 if kind == best else 1


def kind_words(kind: str, task: TaskKind) -> str:
    """What kind of model it is, and what that means for a task."""
    if kind == ENCODER:
        if task.writes:
            return _("It reads both ways and cannot write.")
        return _("It reads both ways, which is best where something is decided about a text.")
    if not task.writes:
        return _(
            "It is made to write; it can learn to decide, but a model that reads both ways does so with less."
        )
    if kind == CHAT:
        if task.plain_text:
            return _("It is tuned to answer, some of which plain text makes it forget.")
        return _("It is tuned to answer, so little has to be learnt.")
    if kind == BASE:
        if task.plain_text:
            return _("It goes on with text, which is what is taught here.")
        return _("It goes on with text and has to learn to answer first.")
    return _("Nobody says whether it is tuned to answer.")


def why_of(
    choice: Choice,
    fitted: Fitted,
    task: TaskKind,
    rows: DataFacts,
    languages: Sequence[str],
    machine: str,
) -> str:
    """Why a model stands where it stands: memory, time, kind, languages and terms, as far as they matter."""
    said = [memory_words(choice, fitted, machine), time_words(fitted, rows, choice)]
    if choice.origin == PACKAGE:
        said.append(_("A toy inside this program, to try things with."))
    elif choice.state != UNSUITED:
        said.append(kind_words(choice.kind, task))
    if choice.origin == FOLDER:
        said.append(_("It lies in this folder or below it."))
    if choice.origin == RUN:
        said.append(_("A run of yours made it: it has learnt something else already."))
    said += [language_words(choice, languages), terms_words(choice), fetch_words(choice)]
    return " ".join(filter(None, said))


def memory_words(choice: Choice, fitted: Fitted, machine: str) -> str:
    """Whether it fits, in GiB."""
    told = {"needs": choice.needs, "there": choice.there, "machine": one_line(machine)}
    if choice.state == FITS:
        return _("Fits {machine}: needs {needs:.1f} of {there:.1f} GiB.", **told)
    if choice.state == CHANGED:
        return _(
            "Fits {machine} with {changes}: needs {needs:.1f} of {there:.1f} GiB.", changes=fitted.why, **told
        )
    if fitted.weights:
        return _("Does not fit {machine}: its weights alone take {needs:.1f} GiB of {there:.1f}.", **told)
    if choice.state == MISFIT and choice.needs:
        return _("Does not fit {machine}: needs {needs:.1f} GiB of {there:.1f}.", **told)
    return fitted.why


def time_words(fitted: Fitted, rows: DataFacts, choice: Choice) -> str:
    """How long these rows take, and what they cost."""
    if fitted.seconds is None or not choice.fits:
        return ""
    told = {"time": rough_seconds(fitted.seconds[1]), "rows": rows.rows}
    if choice.seconds is None:
        return _("1,000 rows of 200 tokens would take about {time}.", time=told["time"])
    if choice.cost is not None:
        said = _(
            "About {time} and {money} for these {rows:,} rows.",
            money=human_money(max(0.01, choice.cost[1])),
            **told,
        )
    else:
        said = _("About {time} for these {rows:,} rows.", **told)
    return f"{said} {_('That is more than the budget.')}" if choice.within is False else said


def language_words(choice: Choice, asked: Sequence[str]) -> str:
    """Whether it knows the languages that were asked for, by its card."""
    if not asked or choice.origin == PACKAGE:
        return ""
    wanted = ", ".join(one_line(code, 12) for code in asked)
    if choice.speaks is None:
        return _("Its card does not say whether it knows {wanted}.", wanted=wanted)
    if choice.speaks:
        return _("It knows {wanted}, its card says.", wanted=wanted)
    return _("Its card names {known}, not {wanted}.", known=languages_words(choice.languages), wanted=wanted)


def languages_words(known: Sequence[str]) -> str:
    """Languages of a card, in a few words: `en, fr, de and 9 more`; empty where it names none."""
    named = ", ".join(one_line(code, 12) for code in known[:_NAMED])
    if len(known) <= _NAMED:
        return named
    return _("{named} and {more} more", named=named, more=len(known) - _NAMED)


def terms_words(choice: Choice) -> str:
    """Its licence, and whether one has to ask."""
    licence = one_line(choice.licence, 40)
    if choice.gated and not choice.here:
        if licence:
            return _("Gated ({licence}): log in to its hub and accept its terms first.", licence=licence)
        return _("Gated: log in to its hub and accept its terms first.")
    if licence:
        return _("Licence {licence}.", licence=licence)
    return "" if choice.here else _("Its licence is not known here.")


def fetch_words(choice: Choice) -> str:
    """What has to be fetched."""
    if choice.here:
        return ""
    if choice.fetch is None:
        return _("It has to be fetched first; how much that is, is not known.")
    return _("{size} have to be fetched first.", size=human_bytes(choice.fetch))
