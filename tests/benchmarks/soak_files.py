"""Damaging configs and run folders at random, and looking at what the program says to them."""

from __future__ import annotations

import io
import random
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import yaml

from tui_tuner.config.load import dump_config, load_config
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.headless import LinePrinter, make_printer_writer
from tui_tuner.runs.events import Log
from tui_tuner.runs.history import describe_lost_run, read_run_view, summarise_run
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

ODD = (
    None, True, -1, 0, 1, 2**70, -0.0, 1e308, float("inf"), float("nan"), "", " ", "auto", "none", "\x1b[31m",
    "\ud83d\ude00", "\u202e", "a" * 999, [], {}, [[]], {"a": {"b": [1]}}, "2024-01-01", b"\xff",
)  # fmt: skip


def damage_config(root: Path, chance: random.Random) -> str:
    """Write a damaged config and load it; the traceback of anything but a clear error, or nothing."""
    path = root / "fuzzed.yaml"
    values = yaml.safe_load(dump_config(RunConfig()))
    names = list(list_options())
    for _ in range(chance.randint(1, 4)):
        *parents, last = chance.choice(names).split(".")
        place = values
        for part in parents:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        if chance.random() < 0.15:
            last = last[::-1]
        place[last] = chance.choice(ODD)
    text = bytearray(yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass"))
    if chance.random() < 0.5:
        damage_bytes(text, chance)
    path.write_bytes(text)
    try:
        load_config(
            path, chance.sample([f"{name}={chance.choice(ODD)}" for name in names], chance.randint(0, 2))
        )
    except TunerError as error:
        return "" if str(error) else "an error that says nothing"
    except Exception:
        return traceback.format_exc()
    return ""


def damage_bytes(text: bytearray, chance: random.Random) -> None:
    """Flip, cut, repeat or insert, in place."""
    for _ in range(chance.randint(1, 6)):
        if not text:
            return
        at = chance.randrange(len(text))
        kind = chance.randrange(5)
        if kind == 0:
            text[at] = chance.randrange(256)
        elif kind == 1:
            del text[at:]
        elif kind == 2:
            del text[at : at + chance.randint(1, 100)]
        elif kind == 3:
            text[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 40)))
        else:
            text[at:at] = text[at : at + chance.randint(1, 400)]


def damage_folder(
    folder: RunFolder, target: Path, chance: random.Random, resume: Callable[[RunFolder], str] | None
) -> str:
    """Copy a run, damage some of its files, and look at it in every way; what went wrong, or nothing."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder.path, target / "r")
    hurt = RunFolder(target / "r")
    files = sorted(path for path in hurt.path.rglob("*") if path.is_file())
    # files that say what the run is are hurt more often than the bulk of the weights
    small = [path for path in files if path.parent == hurt.path]
    for path in chance.choices([*files, *small, *small, *small], k=chance.randint(1, 4)):
        if path.is_file():
            damage_file(path, chance)
    try:
        look(hurt)
        return resume(hurt) if resume is not None else ""
    except TunerError:
        return ""
    except Exception:
        return traceback.format_exc()


def damage_file(path: Path, chance: random.Random) -> None:
    kind = chance.random()
    if kind < 0.1:
        path.unlink()
    elif kind < 0.15:
        path.unlink()
        path.mkdir()
    elif kind < 0.2:
        path.write_bytes(b"")
    else:
        text = bytearray(path.read_bytes())
        damage_bytes(text, chance)
        path.write_bytes(text)


def look(folder: RunFolder) -> None:
    """All that commands and screens do with a run that is not on."""
    summarise_run(folder)
    describe_lost_run(folder)
    read_run_view(folder)
    LinePrinter(make_printer_writer(io.StringIO())).feed_events(
        JournalReader(folder.events_path).read_events()
    )
    list(RunStore(folder.path.parent).list_runs())
    if not folder.events_path.is_dir():
        journal = JournalWriter(folder.events_path, "r")
        journal.emit(Log(level="info", message="still writable"))
        journal.close()
    from tui_tuner.training.keeping.checkpoints import find_newest_checkpoint

    find_newest_checkpoint(folder.checkpoints_path, lambda checkpoint, problem: None)
