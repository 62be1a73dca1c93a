"""Details of the model under the cursor: its shape, its files, and the memory it needs here."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.base_models.fetches import FAILED, LEFT, FetchJob
from tui_tuner.ui.base_models.fits import FITS, UNKNOWN, UNSUITED, Fit
from tui_tuner.ui.base_models.model_description import (
    ModelSummary,
    describe_chat_template,
    describe_model_files,
    describe_model_shape,
    find_described_parameters,
    format_parameter_count,
)
from tui_tuner.ui.base_models.model_rows import ModelRow, format_hub_name
from tui_tuner.ui.screen_words import format_age, make_safe_line


class Details(Static):
    """Shows a model with `show_content`; lines that do not fit are cut off, and a key shows all."""

    DEFAULT_CSS = "Details { text-wrap: wrap; }"

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes)
        self._shown = ""

    def show_content(self, content: Content) -> None:
        """Draw the content if it has changed."""
        if content.markup != self._shown:
            self._shown = content.markup
            self.update(content)


def format_model_details(
    row: ModelRow, told: ModelSummary | None, error: str, fit: Fit | None, job: FetchJob | None
) -> list[Content]:
    """Describe a model in lines, the most important ones first.

    Args:
        error: Why there is no answer from its hub.
    """
    gated = told is not None and told.gated and not told.config
    # The hub keeps the config of a gated model from users without access, so its fit is not known.
    verdict = [] if gated else _describe_fit(fit)
    lines = [_name_line(row), *_describe_state(row, job), *verdict, *_list_warnings(row, told)]
    if told is not None:
        lines += [Content(" · ".join(parts)) for parts in _list_facts(row, told) if parts]
    elif error:
        lines.append(Content.assemble(("✗ ", "$error"), make_safe_line(error)))
    elif row.on_hub or row.folder is not None:
        lines.append(Content(_("Loading its config and file list…")).stylize("$dim"))
    return lines


def _name_line(row: ModelRow) -> Content:
    parts: list[str | tuple[str, str] | Content] = [(make_safe_line(row.name).plain, "bold")]
    if row.revision:
        parts.append(("  " + _("revision {name}", name=one_line(row.revision, 40)), "$dim"))
    return Content.assemble(*parts)


def _describe_fit(fit: Fit | None) -> list[Content]:
    if fit is None or not fit.why:
        return []
    if fit.state == UNKNOWN:
        return [Content.assemble((make_safe_line(fit.why).plain, "$dim"))]
    if fit.state == UNSUITED:
        return [Content.assemble(("✗ ", "$warning"), make_safe_line(fit.why))]
    mark, style = ("✓ ", "$success") if fit.state == FITS else ("✗ ", "$error")
    needs = _("needs {needs:,.1f} of {usable:.1f} GiB.", needs=fit.needs, usable=fit.usable)
    return [Content.assemble((mark, style), needs, " ", make_safe_line(fit.why))]


def _describe_state(row: ModelRow, job: FetchJob | None) -> list[Content]:
    """Describe how much is on this machine, and a failed download."""
    if job is not None and job.state == FAILED:
        words = _("Download failed: {why} Press f to see what to do.", why=one_line(job.words, 300))
        return [Content(words).stylize("$error")]
    if row.is_partial or (job is not None and job.state == LEFT):
        done = row.bytes if row.is_partial else job.done if job is not None else 0
        total = row.total or (job.total if job is not None else None)
        if total:
            words = _(
                "partial: {done} of {total} downloaded, press f to resume",
                done=format_bytes(done or 0),
                total=format_bytes(total),
            )
        else:
            words = _("partial: {done} downloaded, press f to resume", done=format_bytes(done or 0))
        return [Content(words).stylize("$warning")]
    return []


def _list_warnings(row: ModelRow, told: ModelSummary | None) -> list[Content]:
    lines = []
    if told is not None and told.remote_code:
        words = _("Has its own Python code, which runs with your rights: you are asked first.")
        lines.append(Content(words).stylize("$warning"))
    # A model that is complete here has been granted and needs no further access.
    if (row.gated or (told is not None and told.gated)) and not row.whole:
        lines.append(_describe_gate(told))
    if told is not None and told.safetensors is False and told.files:
        lines.append(Content(_("Its weights are not safetensors files.")).stylize("$warning"))
    return lines


def _describe_gate(told: ModelSummary | None) -> Content:
    """Describe the access to a gated model; its config is only visible with access."""
    if told is None:
        return Content(_("Gated: its owner wants to know who downloads it.")).stylize("$warning")
    if told.config:
        return Content(_("Gated, and you have access.")).stylize("$dim")
    words = _("Gated: accept its terms at {page}, then log in with l.", page=one_line(told.page))
    return Content(words).stylize("$warning")


def _list_facts(row: ModelRow, told: ModelSummary) -> list[list[str]]:
    count = find_described_parameters(row, told)
    shape = [one_line(word, 40) for word in describe_model_shape(told)]
    shape += [_("{count} parameters", count=format_parameter_count(count))] if count else []
    shape += [words] if (words := describe_chat_template(told)) else []
    licence = row.licence or told.licence
    more = [_("licence {name}", name=one_line(licence, 40))] if licence else []
    more += [words] if (words := describe_model_files(told)) else []
    updated = row.updated or told.updated
    more += [_("updated {day}", day=one_line(updated, 10))] if updated else []
    more += [_("{count:,} downloads", count=row.downloads)] if row.downloads else []
    more += [format_hub_name(row.source)] if row.on_hub else []
    more += [_("used {when}", when=format_age(row.used))] if row.is_here and row.used else []
    return [shape, more]


def format_file_lines(told: ModelSummary) -> list[Content]:
    """List the files, largest first."""
    files = sorted(told.files, key=lambda file: -(file[1] or 0))
    return [
        Content.assemble(
            ((format_bytes(size) if size is not None else "?").rjust(11) + "  ", "$dim"), make_safe_line(name)
        )
        for name, size in files
    ]
