"""The folders of an export: checked before any work, and under another name until they are whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tui_tuner.errors import DiskFullError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line

MARK = ".tui-tuner-export"  # in a folder that is being written: it may be removed and begun again
FACTS = "export.json"
_SPARE = 64 << 20  # bytes that stay free


def name_partial(output: Path) -> Path:
    """Return the folder that an export is written into until it is whole and proved."""
    return output.with_name(f"{output.name}.partial")


def name_failed(output: Path) -> Path:
    """Return the folder that an export whose parity failed is kept in."""
    return output.with_name(f"{output.name}.failed-parity")


def check_output(output: Path) -> None:
    """Raise `UsageError` where an export cannot be written, such as over a folder that is there already."""
    if os.path.lexists(output):
        raise UsageError(
            _("is there already."), where=one_line(output, 300), hint=_("Name a new folder with --output.")
        )
    parent = output.parent
    if parent.exists() and not parent.is_dir():
        raise UsageError(
            _("is no folder."), where=one_line(parent, 300), hint=_("Name another one with --output.")
        )
    partial = name_partial(output)
    if (
        os.path.lexists(partial)
        and not (partial / MARK).is_file()
        and (not partial.is_dir() or any(partial.iterdir()))
    ):
        raise UsageError(
            _("is in the way, and no export began it."),
            where=one_line(partial, 300),
            hint=_("Move it, or name another folder with --output."),
        )


def check_room(output: Path, needed: int) -> None:
    """Raise `DiskFullError` unless the disk has room for so many bytes."""
    place = output.parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed + _SPARE <= free:
        return
    raise DiskFullError(
        _(
            "needs {needed}, and {free} are free.",
            needed=format_bytes(needed + _SPARE),
            free=format_bytes(free),
        ),
        where=one_line(output, 300),
        hint=_("Make room, or name a folder of another disk with --output."),
    )


def begin_folder(output: Path) -> Path:
    """Make the empty folder that an export is written into; what a killed export left there is removed."""
    partial = name_partial(output)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / MARK).write_text("", encoding="utf-8")
    return partial


def finish_folder(partial: Path, target: Path) -> None:
    """Give a whole export its name, once all of it is on the disk."""
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            _sync(path)
    # After a power failure the final name must not exist without its bytes
    (partial / MARK).unlink(missing_ok=True)
    _sync(partial)
    if target.name.endswith(".failed-parity"):
        shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    _sync(target.parent)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write `export.json`: from what, to what, with what, and the size of each file."""
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MARK, FACTS)
    }
    text = json.dumps({**facts, "files": files}, indent=1, ensure_ascii=False, default=str)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
