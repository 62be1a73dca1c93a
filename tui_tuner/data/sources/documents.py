"""Readers of documents, Markdown and HTML, and of data sets on a hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from tui_tuner.data.markup import Unparsable, html_to_text
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.lines import MAX_LINE
from tui_tuner.data.sources.streams import HEAD, encoding_of
from tui_tuner.errors import DataError, HubError
from tui_tuner.locales import N_, _
from tui_tuner.models.libraries import all_there
from tui_tuner.text import human_bytes, one_line

HUB_SECONDS = 5.0


def read_document(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """A Markdown or HTML file is one document; of HTML, its text."""
    data = file.read(MAX_LINE + 1)
    origin = Origin(name, 1)
    if len(data) > MAX_LINE:
        yield Row(origin, {}, N_("the document is larger than {size}", size=human_bytes(MAX_LINE)))
        return
    encoding = encoding_of(data[:HEAD], len(data) <= HEAD, told)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        yield Row(
            origin, {"": data[:200].decode(encoding, "replace")}, N_("not {encoding} text", encoding=encoding)
        )
        return
    if name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".html", ".htm")):
        try:
            text = html_to_text(text)
        except Unparsable:
            yield Row(origin, {"": text[:200]}, N_("HTML that cannot be parsed"))
            return
    yield Row(origin, {"text": text.strip()})


def read_hub(name: str, field: str | None) -> Iterator[Row]:
    """Rows of a hub data set, streamed. `field` names a split, or `configuration:split`; else train.

    Raises:
        HubError: the hub cannot be reached, or has no such data set.
        DataError: the data set has several configurations or no such split.
    """
    where = one_line(name)
    hint = _("Download it and give its folder, or check the name and the connection.")
    problem = _unreachable()
    if problem:
        what = _("is no file here, and the hub cannot be reached: {problem}.", problem=problem)
        raise HubError(what, where=where, hint=hint)
    with all_there():  # a run may begin in another thread
        from datasets import disable_progress_bars, load_dataset
        from datasets.exceptions import DatasetNotFoundError

    disable_progress_bars()
    configuration, _unused, split = (field or "train").rpartition(":")
    try:
        rows = load_dataset(name, configuration or None, split=split or "train", streaming=True)
        for number, values in enumerate(rows, 1):
            yield Row(Origin(name, number), _without_filled(values))
    except DatasetNotFoundError:
        raise HubError(_("is no file here, and no data set on the hub."), where=where, hint=hint) from None
    except ValueError as error:
        raise DataError(
            f"{one_line(error, 300)}", where=where, hint=_("See data.field."), field="data.field"
        ) from None
    except (OSError, RuntimeError) as error:
        problem = one_line(error, 160)
        what = _("is no file here, and the hub cannot be reached: {problem}.", problem=problem)
        raise HubError(what, where=where, hint=hint) from None


def _without_filled(values: dict[str, Any]) -> dict[str, Any]:
    """A row without binary columns, and without the keys that Arrow filled with null inside its columns."""
    return {name: _filled_out(value) for name, value in values.items() if not isinstance(value, bytes)}


def _filled_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled_out(item) for name, item in value.items() if item is not None}
    return [_filled_out(item) for item in value] if isinstance(value, list) else value


def hub_revision(name: str) -> str:
    """The commit a hub data set stands at now; empty if the hub does not say."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, timeout=HUB_SECONDS).sha or "")
    except Exception:  # whatever the HTTP client raises; reading the rows says what is wrong
        return ""


def _unreachable() -> str:
    """Why the hub cannot be asked, by one quick question (its client would try for long); or empty."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.is_offline_mode():
        return _("HF_HUB_OFFLINE is set")
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception as error:  # whatever the HTTP client raises
        return one_line(error, 120)
    return ""
