"""`tui-tuner cache`: lists and deletes tokenised rows that are kept for later runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Json
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import format_bytes, one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.cache import CachedStore

app = typer.Typer(
    help=N_("Tokenised rows kept for later runs: list and delete them."),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def print_cached_data(json: Json = False) -> None:
    """List the cached data, most recently used first."""
    from tui_tuner.data.examples.cache import find_cache_root, list_cached_stores

    root = find_cache_root()
    found = list_cached_stores(root)
    total = sum(one.bytes for one in found)
    if json:
        _print_json(
            {"folder": str(root), "bytes": total, "stores": [one.describe_as_json() for one in found]}
        )
        return
    for one in found:
        typer.echo(_format_store(one))
        if one.state == "complete":
            typer.echo(f"    {_describe_origin(one)}")
    size, folder = format_bytes(total), one_line(root)
    typer.echo(
        _n(
            "{count} store, {size} in {folder}",
            "{count} stores, {size} in {folder}",
            len(found),
            count=len(found),
            size=size,
            folder=folder,
        )
    )


@app.command("clean")
def delete_cached_data(
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", help=N_("Delete data that was not used for this many days."), min=0),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help=N_("Delete everything that no run is using."))] = False,
    yes: Annotated[bool, typer.Option("--yes", help=N_("Do not ask."))] = False,
    json: Json = False,
) -> None:
    """Delete cached data that was not used for 30 days, is damaged or was never finished."""
    from tui_tuner.data.examples.cache import (
        delete_cached_stores,
        find_cache_root,
        list_cached_stores,
        select_stores_for_deletion,
    )

    if every and older_than is not None:
        raise UsageError(_("--all and --older-than contradict each other."), hint=_("Give only one of them."))
    root = find_cache_root()
    found = list_cached_stores(root)
    # Never includes data in use, so a running job cannot lose its rows
    chosen = select_stores_for_deletion(found, older_than, every)
    if chosen and not yes:
        _confirm_deletion(chosen)
    count, size = delete_cached_stores(chosen)
    in_use = sum(one.in_use for one in found)
    left = len(found) - count
    if json:
        _print_json({"folder": str(root), "deleted": count, "bytes": size, "left": left, "in_use": in_use})
        return
    typer.echo(
        _n(
            "deleted {count} store, {size}",
            "deleted {count} stores, {size}",
            count,
            count=count,
            size=format_bytes(size),
        )
    )
    if in_use:
        typer.echo(
            _n(
                "{count} store is in use by a run and was kept",
                "{count} stores are in use by runs and were kept",
                in_use,
                count=in_use,
            )
        )
    if count < len(chosen):
        missed = len(chosen) - count
        typer.echo(
            _n("{count} cannot be deleted", "{count} cannot be deleted", missed, count=missed), err=True
        )


def _confirm_deletion(chosen: list[CachedStore]) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            _("deleted rows must be tokenised again, which takes time."),
            hint=_("Add --yes to confirm without a terminal."),
        )
    count, size = len(chosen), format_bytes(sum(one.bytes for one in chosen))
    ask = _n(
        "Delete {count} store, {size}?",
        "Delete {count} stores, {size}?",
        count,
        count=count,
        size=size,
    )
    typer.confirm(ask, abort=True, err=True)


def _format_store(one: CachedStore) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
    parts = [
        one.key[:12],
        _("used {when}", when=used),
        f"{format_bytes(one.bytes):>9}",
        _("in use") if one.in_use else _(one.state),
    ]
    if one.state == "complete":
        parts.append(_n("{count:,} row", "{count:,} rows", one.rows, count=one.rows))
        parts.append(_n("{count:,} token", "{count:,} tokens", one.tokens, count=one.tokens))
    return "  ".join(parts)


def _describe_origin(one: CachedStore) -> str:
    said = {
        "data": one_line(", ".join(one.data), 200),
        "task": one_line(one.task),
        "model": one_line(one.tokenizer or one.model),
    }
    dates = ", ".join(one_line(text) for text in (one.dates or {}).values())
    if dates:
        return _("{data}, for {task} with the tokenizer of {model}, dated {dates}", dates=dates, **said)
    return _("{data}, for {task} with the tokenizer of {model}", **said)


def _print_json(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
