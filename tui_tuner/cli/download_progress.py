"""Progress of a download: one updating line in a terminal, plain lines in a file, or JSON lines."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import typer

from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import Progress
from tui_tuner.text import format_bytes, format_seconds, one_line

PLAIN_SECONDS = 5.0
JSON_SECONDS = 1.0


def describe_download_progress(at: Progress) -> str:
    """Describe the progress of a download in one line: bytes, share, rate, time left, or why it waits."""
    if not at.total:
        return _("asking the hub")
    said = {
        "done": format_bytes(at.done),
        "total": format_bytes(at.total),
        "share": at.done / at.total,
        "files": at.files_done,
        "all": at.files_total,
    }
    text = _("{done} of {total} ({share:.0%}), {files} of {all} files", **said)
    if at.note:
        return f"{text}, {at.note}"
    left = at.seconds_left
    if at.rate and left is not None and at.done < at.total:
        rate = format_bytes(at.rate)
        text = f"{text}, " + _("{rate}/s, {time} left", rate=rate, time=format_seconds(left))
    return text


class DownloadPrinter:
    """Prints the progress of a download; an instance is the `progress` callback."""

    def __init__(self, name: str, as_json: bool) -> None:
        self._name, self._json = one_line(name), as_json
        self._in_place = sys.stderr.isatty() and not as_json
        # So that the first line is printed at once
        self._last = -PLAIN_SECONDS
        self._note = ""
        self._at = Progress("", 0, 0, 0, 0)

    def __call__(self, at: Progress) -> None:
        self._at = at
        now, waited = time.monotonic(), time.monotonic() - self._last
        if self._in_place:
            self._write_in_place(f"{self._name}: {describe_download_progress(at)}")
        elif self._json and waited >= JSON_SECONDS:
            self._last = now
            self._print_event("progress")
        # In a log file a line now and then is enough, but a reason for waiting is printed at once
        elif not self._json and (waited >= PLAIN_SECONDS or at.note != self._note) and at.total:
            self._last, self._note = now, at.note
            typer.echo(f"{self._name}: {describe_download_progress(at)}", err=True)

    def print_done(self, folder: Path) -> None:
        self.clear_line()
        if self._json:
            self._print_event("done", path=str(folder))
            return
        size = format_bytes(self._at.total)
        said = {"name": self._name, "size": size, "folder": one_line(folder)}
        typer.echo(
            _("{name} is on this machine: {size} in {folder}", **said) if self._at.total else one_line(folder)
        )

    def print_stopped(self) -> None:
        self.clear_line()
        if self._json:
            self._print_event("stopped")
        stays = _("Stopped. Downloaded parts stay, and the same command continues from there.")
        typer.echo(stays, err=True)

    def clear_line(self) -> None:
        """Erase the progress line."""
        if self._in_place:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _write_in_place(self, text: str) -> None:
        width = max(20, shutil.get_terminal_size().columns - 1)
        # \r goes to the start of the line and \x1b[K erases it; a longer line would wrap and not be erased
        sys.stderr.write("\r\x1b[K" + one_line(text, width))
        sys.stderr.flush()

    def _print_event(self, event: str, **more: str) -> None:
        at = self._at
        told = {"event": event, "name": self._name, "done": at.done, "total": at.total, "file": at.file}
        told |= {"files_done": at.files_done, "files_total": at.files_total}
        if at.note:
            told["note"] = at.note
        if at.rate and event == "progress":
            told["bytes_per_second"] = round(at.rate)
        typer.echo(json.dumps({**told, **more}))
        sys.stdout.flush()
