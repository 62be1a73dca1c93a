"""Read documents (Markdown and HTML), and data sets on a hub."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from tui_tuner.data.markup import UnparsableHtml, convert_html_to_text
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.lines import MAX_LINE
from tui_tuner.data.sources.streams import HEAD, detect_encoding
from tui_tuner.errors import DataError, HubError
from tui_tuner.locales import N_, _
from tui_tuner.models.libraries import show_packages
from tui_tuner.text import format_bytes, one_line

HUB_SECONDS = 5.0


def read_document(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """Read a Markdown or HTML file as one document; HTML becomes its text."""
    data = file.read(MAX_LINE + 1)
    origin = Origin(name, 1)
    if len(data) > MAX_LINE:
        yield Row(origin, {}, N_("the document is larger than {size}", size=format_bytes(MAX_LINE)))
        return
    encoding = detect_encoding(data[:HEAD], len(data) <= HEAD, told)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        yield Row(
            origin, {"": data[:200].decode(encoding, "replace")}, N_("not {encoding} text", encoding=encoding)
        )
        return
    if name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".html", ".htm")):
        try:
            text = convert_html_to_text(text)
        except UnparsableHtml:
            yield Row(origin, {"": text[:200]}, N_("HTML that cannot be parsed"))
            return
    yield Row(origin, {"text": text.strip()})


def read_hub_rows(name: str, field: str | None) -> Iterator[Row]:
    """Stream the rows of a hub data set; `field` names a split or `configuration:split`, by default train.

    Raises:
        HubError: the hub cannot be reached, or has no such data set.
        DataError: the data set has several configurations or no such split.
    """
    where = one_line(name)
    hint = _("Check the name and the connection, or download it and give its folder.")
    problem = _check_hub()
    if problem:
        what = _("is not a file here, and the hub cannot be reached: {problem}.", problem=problem)
        raise HubError(what, where=where, hint=hint)
    # A run may begin in another thread, which would see a library that is half imported.
    with show_packages():
        from datasets import disable_progress_bars, load_dataset
        from datasets.exceptions import DatasetNotFoundError

    disable_progress_bars()
    configuration, _unused, split = (field or "train").rpartition(":")
    try:
        rows = load_dataset(name, configuration or None, split=split or "train", streaming=True)
        for number, values in enumerate(rows, 1):
            yield Row(Origin(name, number), _drop_filled_nulls(values))
    except DatasetNotFoundError:
        raise HubError(_("is neither a file nor a data set on the hub."), where=where, hint=hint) from None
    # `datasets` raises this for an unknown configuration or split, and its text lists those that exist.
    except ValueError as error:
        raise DataError(
            f"{one_line(error, 300)}", where=where, hint=_("See data.field."), field="data.field"
        ) from None
    except (OSError, RuntimeError) as error:
        problem = one_line(error, 160)
        what = _("is not a file here, and the hub cannot be reached: {problem}.", problem=problem)
        raise HubError(what, where=where, hint=hint) from None


def _drop_filled_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """Drop binary columns, and the keys inside of columns that Arrow filled with null."""
    return {name: _drop_nulls_inside(value) for name, value in values.items() if not isinstance(value, bytes)}


def _drop_nulls_inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _drop_nulls_inside(item) for name, item in value.items() if item is not None}
    return [_drop_nulls_inside(item) for item in value] if isinstance(value, list) else value


def fetch_hub_revision(name: str) -> str:
    """Return the current commit of a hub data set; empty if the hub does not give it."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, timeout=HUB_SECONDS).sha or "")
    # The HTTP client raises many kinds; what is wrong is reported when the rows are read.
    except Exception:
        return ""


def _check_hub() -> str:
    """Return why the hub cannot be reached; empty if it can."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.is_offline_mode():
        return _("HF_HUB_OFFLINE is set")
    try:
        # One quick request first: the client of `datasets` tries again for minutes without a connection.
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception as error:  # whatever the HTTP client raises
        return one_line(error, 120)
    return ""
