"""What is known of the model under the cursor: its shape, its files, what it takes here."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.base_models.fetches import FAILED, LEFT, Job
from tui_tuner.ui.base_models.fits import FITS, UNKNOWN, UNSUITED, Fit
from tui_tuner.ui.base_models.rows import Row, hub_words
from tui_tuner.ui.base_models.told import (
    Told,
    count_words,
    files_words,
    shape_words,
    template_words,
    told_parameters,
)
from tui_tuner.ui.words import age, safe


class Details(Static):
    """`show` it a model; what does not fit is left out at the end, and a key shows all of it."""

    DEFAULT_CSS = "Details { text-wrap: wrap; }"

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes)
        self._shown = ""

    def show(self, content: Content) -> None:
        """Draw it where it differs from what is there."""
        if content.markup != self._shown:
            self._shown = content.markup
            self.update(content)


def details(row: Row, told: Told | None, error: str, fit: Fit | None, job: Job | None) -> list[Content]:
    """Lines about a model, the most important ones first.

    Args:
        error: Why a hub tells nothing of it.
    """
    gated = told is not None and told.gated and not told.config
    verdict = [] if gated else _verdict(fit)  # of one whose config only those get who may read it
    lines = [_name_line(row), *_state(row, job), *verdict, *_warnings(row, told)]
    if told is not None:
        lines += [Content(" · ".join(parts)) for parts in _facts(row, told) if parts]
    elif error:
        lines.append(Content.assemble(("✗ ", "$error"), safe(error)))
    elif row.on_hub or row.folder is not None:
        lines.append(Content(_("Asking for its config and its files…")).stylize("$dim"))
    return lines


def _name_line(row: Row) -> Content:
    parts: list[str | tuple[str, str] | Content] = [(safe(row.name).plain, "bold")]
    if row.revision:
        parts.append(("  " + _("revision {name}", name=one_line(row.revision, 40)), "$dim"))
    return Content.assemble(*parts)


def _verdict(fit: Fit | None) -> list[Content]:
    if fit is None or not fit.why:
        return []
    if fit.state == UNKNOWN:
        return [Content.assemble((safe(fit.why).plain, "$dim"))]
    if fit.state == UNSUITED:
        return [Content.assemble(("✗ ", "$warning"), safe(fit.why))]
    mark, style = ("✓ ", "$success") if fit.state == FITS else ("✗ ", "$error")
    needs = _("needs {needs:,.1f} of {usable:.1f} GiB.", needs=fit.needs, usable=fit.usable)
    return [Content.assemble((mark, style), needs, " ", safe(fit.why))]


def _state(row: Row, job: Job | None) -> list[Content]:
    """What of it is on this machine, and what came of fetching it."""
    if job is not None and job.state == FAILED:
        words = _("Fetching failed: {why} f says what can be done.", why=one_line(job.words, 300))
        return [Content(words).stylize("$error")]
    if row.partial or (job is not None and job.state == LEFT):
        done = row.bytes if row.partial else job.done if job is not None else 0
        total = row.total or (job.total if job is not None else None)
        if total:
            words = _(
                "partial: {done} of {total} are here, f goes on",
                done=human_bytes(done or 0),
                total=human_bytes(total),
            )
        else:
            words = _("partial: {done} are here, f goes on", done=human_bytes(done or 0))
        return [Content(words).stylize("$warning")]
    return []


def _warnings(row: Row, told: Told | None) -> list[Content]:
    lines = []
    if told is not None and told.remote_code:
        words = _("Brings its own Python code, which runs with your rights: you are asked before.")
        lines.append(Content(words).stylize("$warning"))
    if (row.gated or (told is not None and told.gated)) and not row.whole:
        lines.append(_gated(told))
    if told is not None and told.safetensors is False and told.files:
        lines.append(Content(_("Its weights are no safetensors files.")).stylize("$warning"))
    return lines


def _gated(told: Told | None) -> Content:
    """What a model asks for that its owner gives to some: its config says whether one is among them."""
    if told is None:
        return Content(_("Gated: its owner wants to know who asks.")).stylize("$warning")
    if told.config:
        return Content(_("Gated, and you may fetch it.")).stylize("$dim")
    words = _("Gated: accept its terms at {page}, then log in with l.", page=one_line(told.page))
    return Content(words).stylize("$warning")


def _facts(row: Row, told: Told) -> list[list[str]]:
    count = told_parameters(row, told)
    shape = [one_line(word, 40) for word in shape_words(told)]
    shape += [_("{count} parameters", count=count_words(count))] if count else []
    shape += [words] if (words := template_words(told)) else []
    licence = row.licence or told.licence
    more = [_("licence {name}", name=one_line(licence, 40))] if licence else []
    more += [words] if (words := files_words(told)) else []
    updated = row.updated or told.updated
    more += [_("updated {day}", day=one_line(updated, 10))] if updated else []
    more += [_("{count:,} downloads", count=row.downloads)] if row.downloads else []
    more += [hub_words(row.source)] if row.on_hub else []
    more += [_("used {when}", when=age(row.used))] if row.here and row.used else []
    return [shape, more]


def file_lines(told: Told) -> list[Content]:
    """The files, largest first."""
    files = sorted(told.files, key=lambda file: -(file[1] or 0))
    return [
        Content.assemble(
            ((human_bytes(size) if size is not None else "?").rjust(11) + "  ", "$dim"), safe(name)
        )
        for name, size in files
    ]
