"""`tui-tuner runs`: lists runs, and renames, annotates, deletes and restores them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tui_tuner.cli.options import Json
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _, _n
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import format_bytes, format_seconds, one_line

STATES = (
    N_("new"),
    N_("running"),
    N_("paused"),
    N_("completed"),
    N_("stopped"),
    N_("failed"),
    N_("lost"),
)
_SCAN_SECONDS = 3.0  # for reading long journals for the first time

app = typer.Typer(invoke_without_command=True, no_args_is_help=False)

RunsFolder = Annotated[str | None, typer.Option("--runs", help=N_("Folder that holds the runs."))]
Name = Annotated[str, typer.Argument(help=N_("Name or folder of a run, or `last`."), metavar="RUN")]
Names = Annotated[list[str], typer.Argument(help=N_("Names of runs."), metavar="RUN...")]


@app.callback()
def print_runs(
    context: typer.Context,
    runs: Annotated[str, typer.Option("--runs", help=N_("Folder that holds the runs."))] = "runs",
    search: Annotated[
        str,
        typer.Option("--search", help=N_("Only runs that contain all these words."), metavar="WORDS"),
    ] = "",
    state: Annotated[
        str,
        typer.Option(
            "--state", help=_("Only runs that are: {states}.", states=", ".join(STATES)), metavar="STATE"
        ),
    ] = "",
    whole: Annotated[
        bool, typer.Option("--all", help=N_("Read every journal to its end, no matter how long it takes."))
    ] = False,
    json: Json = False,
) -> None:
    """List the runs, newest first; rename, note, tag, delete and restore them."""
    # Subcommands have a --runs of their own; without it they use this one
    context.obj = runs
    if context.invoked_subcommand is not None:
        return
    from tui_tuner.runs.history import matches_run_words, summarise_runs

    # A mistyped --runs would otherwise look like a folder without runs
    if Path(runs).expanduser().is_file():
        raise UsageError(
            _("is a file, not a folder."), where=one_line(runs), hint=_("Choose another folder with --runs.")
        )

    if state and state not in STATES:
        raise UsageError(
            _(
                "--state: unknown state {state!r}; known are {states}.",
                state=one_line(state),
                states=", ".join(STATES),
            )
        )
    rows = [
        row
        for row in summarise_runs(RunStore(runs), None if whole else _SCAN_SECONDS)
        if matches_run_words(row, search.split(), state)
    ]
    if json:
        import orjson

        from tui_tuner.runs.wire import convert_to_plain_json

        typer.echo(orjson.dumps(convert_to_plain_json(rows, spelt=True), option=orjson.OPT_INDENT_2).decode())
    else:
        _print_rows(rows, runs, filtered=bool(search or state))


def _print_rows(rows: list[dict[str, Any]], runs: str, filtered: bool) -> None:
    if not rows:
        typer.echo(
            _("no run matches")
            if filtered
            else _("no runs in {runs}; `tui-tuner demo` makes the first one", runs=one_line(runs))
        )
        return
    width = min(44, max(len(one_line(row["name"])) for row in rows))
    state = max(len(_describe_state(row)) for row in rows)
    for row in rows:
        typer.echo(_format_row(row, width, max(9, state)))
        for detail in _list_details(row):
            typer.echo(f"    {detail}")
    size = format_bytes(sum(row["bytes"] for row in rows))
    typer.echo(_n("{count} run, {size}", "{count} runs, {size}", len(rows), count=len(rows), size=size))
    if not all(row["complete"] for row in rows):
        typer.echo(_("some long journals have not been read to the end yet: run this again, or use --all"))


def _describe_state(row: dict[str, Any]) -> str:
    """Describe the state of a run, with its verdict."""
    from tui_tuner.verdicts.verdict_lines import format_run_status

    return format_run_status(row["state"], row["verdict"] or "")


def _format_row(row: dict[str, Any], width: int, state: int) -> str:
    done = f"{row['step']}/{row['total_steps'] or '?'}"
    parts = [
        f"{one_line(row['name'], width):{width}}",
        f"{_describe_state(row):{state}}",
        f"{done:>11}",
        f"{_format_figure(_('loss'), row['loss']):11}",
        f"{_format_best(row):16}",
        f"{format_seconds(row['paid_seconds']) if row['paid_seconds'] else '':>13}",
        f"{format_bytes(row['bytes']):>9}",
    ]
    if row["cost"] is not None:
        parts.append(_("cost {cost:.2f}", cost=row["cost"]))
    return "  ".join(parts).rstrip()


def _list_details(row: dict[str, Any]) -> list[str]:
    from tui_tuner.runs.event_lines import format_gpu_use

    found = []
    if row["tags"] or row["note"]:
        found.append(" ".join([*(f"#{one_line(tag)}" for tag in row["tags"]), one_line(row["note"], 200)]))
    used = format_gpu_use(row["mfu"], row["gpu_busy"])
    if used:
        found.append(", ".join(used))
    if row["newer_journal"]:
        found.append(_("written by a newer tui-tuner: events unknown to this version are not shown"))
    if row["host"]:
        found.append(_("on the machine {host}", host=one_line(row["host"])))
    if row["model_from"]:
        found.append(_("model: {source}", source=one_line(row["model_from"], 200)))
    if row["state"] == "failed" and row["message"]:
        found.append(one_line(row["message"], 200))
    if row["state"] == "lost":
        # Only for lost runs: reading the traces of a death takes a while
        from tui_tuner.runs.history import describe_lost_run

        what = describe_lost_run(RunFolder(Path(row["folder"])), 3)
        found.append(one_line(what.death.message))
        found += [f"| {line}" for line in what.lines]
        found.append(_("resume it with: {command}", command=what.resume))
    return found


def _format_figure(label: str, value: float | None) -> str:
    return f"{label} {value:.4f}" if value is not None else ""


def _format_best(row: dict[str, Any]) -> str:
    """Format the best value of the metric that decides which checkpoint is best."""
    from tui_tuner.config.deciding import name_shown_metric
    from tui_tuner.runs.pace import format_metric_figure

    if row["best"] is None:
        return ""
    value = format_metric_figure(row["metric"], row["best"])
    return _("best {metric} {value}", metric=name_shown_metric(row["metric"]), value=value)


@app.command("rename")
def rename_named_run(context: typer.Context, run: Name, name: str, runs: RunsFolder = None) -> None:
    """Give a run another name."""
    from tui_tuner.runs import trash

    store = _open_store(context, runs)
    folder = trash.rename_run(store, store.find_run(run), name)
    typer.echo(_("{run} is now {name}", run=one_line(run), name=one_line(folder.name)))


@app.command("note")
def note_named_run(
    context: typer.Context,
    run: Name,
    text: Annotated[
        list[str] | None, typer.Argument(help=N_("The note; leave it out to remove the note."))
    ] = None,
    runs: RunsFolder = None,
) -> None:
    """Write a note about a run."""
    from tui_tuner.runs.notes import set_run_note

    folder = _open_store(context, runs).find_run(run)
    set_run_note(folder, " ".join(text or []))
    name = one_line(folder.name)
    typer.echo(_("{name}: note written", name=name) if text else _("{name}: note removed", name=name))


@app.command("tag", context_settings={"ignore_unknown_options": True})
def tag_named_run(
    context: typer.Context,
    run: Name,
    tags: Annotated[list[str], typer.Argument(help=N_("Tags to add; -TAG removes one."), metavar="TAG...")],
    runs: RunsFolder = None,
) -> None:
    """Add tags to a run, or remove them."""
    from tui_tuner.runs.notes import change_run_tags

    folder = _open_store(context, runs).find_run(run)
    left = change_run_tags(folder, tags)
    typer.echo(f"{one_line(folder.name)}: {', '.join(left) or _('no tags')}")


@app.command("delete")
def delete_named_runs(context: typer.Context, names: Names, runs: RunsFolder = None) -> None:
    """Move runs to the trash, from which they can be restored."""
    from tui_tuner.runs import trash

    store = _open_store(context, runs)
    # All names are looked up first: a mistyped one must not leave half of them deleted
    for folder in [store.find_run(name) for name in names]:
        trash.delete_run(store, folder)
        typer.echo(
            _("{name} is in the trash; `tui-tuner runs restore` restores it", name=one_line(folder.name))
        )


@app.command("restore")
def restore_named_runs(context: typer.Context, names: Names, runs: RunsFolder = None) -> None:
    """Restore deleted runs from the trash."""
    from tui_tuner.runs import trash

    store = _open_store(context, runs)
    for name in names:
        typer.echo(_("{name} is restored", name=one_line(trash.restore_run(store, name).name)))


@app.command("trash")
def print_trash(
    context: typer.Context,
    runs: RunsFolder = None,
    empty: Annotated[
        bool, typer.Option("--empty", help=N_("Permanently delete the contents of the trash."))
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help=N_("Do not ask."))] = False,
) -> None:
    """List the runs in the trash, or empty it."""
    from tui_tuner.runs import trash
    from tui_tuner.runs.history import measure_disk_use

    store = _open_store(context, runs)
    found = trash.list_deleted_runs(store)
    if not found:
        typer.echo(_("the trash is empty"))
        return
    for item in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.time)) if item.time else _("unknown")
        deleted = _("deleted {when}", when=when)
        typer.echo(f"{one_line(item.name, 44):44}  {deleted}  {format_bytes(measure_disk_use(item.path)):>9}")
    if not empty:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                _("emptying the trash cannot be undone."), hint=_("Add --yes to confirm without a terminal.")
            )
        ask = _n(
            "Permanently delete {count} run?",
            "Permanently delete {count} runs?",
            len(found),
            count=len(found),
        )
        typer.confirm(ask, abort=True)
    count, size = trash.empty_trash(store)
    typer.echo(
        _n(
            "deleted {count} run, {size}",
            "deleted {count} runs, {size}",
            count,
            count=count,
            size=format_bytes(size),
        )
    )


def _open_store(context: typer.Context, runs: str | None) -> RunStore:
    return RunStore(runs if runs is not None else context.obj)
