"""Run folders: where they are, what they contain, and which process owns them.

```
runs/NAME/
  config.yaml            the config as requested
  config.resolved.yaml   the config with a value for every `auto`
  moment.json            the time at which chats are rendered, for templates that write the date
  manifest.json          host, pid and start time of the process that runs it
  events.jsonl           the journal            control.jsonl   commands to the run
  run.log                output of libraries    ledger.json     the row ledger
  checkpoints/step-N/    resumable              best/ last/     final models
```
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import DiskFullError, RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    CheckpointSaved,
    CommandDone,
    Evaluation,
    EventBody,
    Finished,
    Heartbeat,
    Log,
    Phase,
    RunStarted,
    Sample,
    Unknown,
    Warned,
)
from tui_tuner.runs.private_files import open_private, read_small_file
from tui_tuner.text import one_line

if TYPE_CHECKING:
    # pydantic takes 0.1 s to import, and a list of runs does not need it.
    from tui_tuner.config.schema import RunConfig

_STATE_TAIL = 64 * 1024  # bytes at the end of the journal that show the state
_WHILE_PAUSED = (Log, Warned, CommandDone, CheckpointSaved, Evaluation, Sample, Unknown)
_SILENT_SECONDS = 60.0  # without a heartbeat, after which a run of another host counts as dead
_CLOCKS_DIFFER = 3600.0  # seconds by which the clock of another host may be ahead
# Errors of the disk, for which another folder name would not help.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_ENDED = ("completed", "stopped", "failed")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, its manifest and its state."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def control_path(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "run.log"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best_path(self) -> Path:
        return self.path / "best"

    @property
    def last_path(self) -> Path:
        return self.path / "last"

    def load_config(self) -> RunConfig:
        """Read the config as it was requested.

        Raises:
            ConfigError: the file is damaged.
        """
        from tui_tuner.config.load import read_config

        return read_config(self.path / "config.yaml")

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest; empty if it is missing or damaged."""
        try:
            data = json.loads(read_small_file(self.path / "manifest.json"))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def write_file(self, name: str, text: str) -> None:
        """Write a file of the run atomically: a temporary file, flushed to the disk, then renamed.

        Raises:
            DiskFullError: there is no space, or the disk fails.
        """
        target = self.path / name
        import uuid

        # A random name: threads and processes may write the same file at once, and the last rename wins.
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with open(
                open_private(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8"
            ) as file:
                file.write(text)
                file.flush()
                # Without it a power failure may leave the new name with an empty file.
                os.fsync(file.fileno())
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise DiskFullError(
                _("cannot be written: {problem}.", problem=error.strerror), where=one_line(target)
            ) from None

    def claim_run(self, **more: Any) -> None:
        """Record this process in the manifest as the one that runs it."""
        import socket

        from tui_tuner.runs.process_identity import identify_process

        manifest = self.read_manifest()
        manifest.update(
            {
                "pid": os.getpid(),
                **identify_process(os.getpid()),
                "host": socket.gethostname(),
                "claimed": time.time(),
                **more,
            }
        )
        # A resumed run keeps the time of its first process.
        manifest.setdefault("created", time.time())
        self.write_file("manifest.json", json.dumps(manifest, indent=1))

    def is_alive(self) -> bool:
        """Return whether the process in the manifest is running; on another host, judged by its journal."""
        import socket

        import psutil

        from tui_tuner.runs.process_identity import is_process_alive

        manifest = self.read_manifest()
        if manifest.get("host") not in (None, socket.gethostname()):
            return bool(self.find_other_host())
        try:
            return is_process_alive(int(manifest["pid"]), manifest)
        except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
            return False

    def find_other_host(self) -> str:
        """Return the other host that seems to train this run on a shared disk; else an empty text.

        Its processes cannot be seen from here, but its heartbeats can: they come every 5 s.
        """
        import socket

        host = self.read_manifest().get("host")
        if not isinstance(host, str) or host == socket.gethostname():
            return ""
        try:
            quiet = time.time() - self.events_path.stat().st_mtime
        except OSError:
            return ""
        # A slightly negative age is a clock that is ahead, a large one a damaged time.
        if not -_CLOCKS_DIFFER < quiet < _SILENT_SECONDS:
            return ""
        last, said = self._read_end()
        # A fresh copy of the folder has a new file time too, but its last event is old.
        return host if last not in _ENDED and abs(time.time() - said) < _CLOCKS_DIFFER else ""

    def forget_process(self) -> None:
        """Remove the process from the manifest.

        Raises:
            DiskFullError: the folder cannot be written.
        """
        manifest = self.read_manifest()
        for name in ("pid", "host", "process", "process_started"):
            manifest.pop(name, None)
        self.write_file("manifest.json", json.dumps(manifest, indent=1))

    def find_state(self) -> str:
        """Return running, paused, completed, stopped, failed, lost (ended without a report) or new."""
        last, _said = self._read_end()
        # The journal first: a process that has written its end may live on for a while.
        if self.is_alive() and last not in _ENDED:
            return last or "running"
        if last in _ENDED:
            return last
        return "lost" if last or self.read_manifest() else "new"

    def _read_end(self) -> tuple[str, float]:
        """Return the state at the end of the journal, and its time; empty and 0 if there is none."""
        from tui_tuner.runs.journal import JournalReader

        last, said = "", 0.0
        for event in JournalReader(self.events_path, tail=_STATE_TAIL).read_events():
            said = event.time
            if last in _ENDED and not _is_beginning(event.body):
                # A thread may still write after the end; that must not turn a run that ended into a lost one.
                continue
            match event.body:
                case Finished(status=status):
                    last = status
                case Phase(name="paused"):
                    last = "paused"
                case Heartbeat():
                    pass
                case body if not (last == "paused" and isinstance(body, _WHILE_PAUSED)):
                    last = "running"
        return last, said


class RunStore:
    """All runs in one folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def create_run(self, config: RunConfig) -> RunFolder:
        """Create a folder (0700) for a new run and write `config.yaml`.

        Raises:
            UsageError: a run of that name exists, the name is not valid, or no folder can be created there.
            ConfigError: the config seems to contain a token or password.
            DiskFullError: the disk is full or fails.
        """
        name = config.output.name
        if name != "auto":
            check_run_name(name)
        from tui_tuner.config import consent
        from tui_tuner.config.load import dump_config, make_paths_absolute
        from tui_tuner.runs.secrets import refuse_secrets

        config = make_paths_absolute(config)
        text = dump_config(config)
        refuse_secrets(text, "config")
        # Starting a run with it is the user's consent to run the model's code.
        consent.record_code_consent(config.model)
        self._check_root()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = self._make_folder(name, config)
        except FileExistsError:
            raise self._taken_error(name) from None
        except OSError as error:
            kind = DiskFullError if error.errno in _DISK else UsageError
            words = _("a run cannot be stored here: {problem}.", problem=error.strerror)
            raise kind(words, **self._error_details()) from None
        try:
            folder.write_file("config.yaml", text)
        except DiskFullError:
            with contextlib.suppress(OSError):
                folder.path.rmdir()
            raise
        return folder

    def check_new_name(self, name: str) -> None:
        """Check whether a run of this name, `auto` or another, could be created, without creating it.

        Raises:
            UsageError: a run of that name exists, the name is not valid, or no folder can be created there.
        """
        if name != "auto":
            check_run_name(name)
            path = self.root / name
            # lexists, as a dangling link also prevents a folder of this name.
            if os.path.lexists(path) and not _is_left_empty(path):
                raise self._taken_error(name)
        self._check_root()
        # Only the nearest existing folder can be checked: those below it would be created.
        above = next(path for path in (self.root, *self.root.absolute().parents) if os.path.lexists(path))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            problem = os.strerror(errno.EACCES if above.is_dir() else errno.ENOTDIR)
            raise UsageError(
                _("a run cannot be stored here: {problem}.", problem=problem), **self._error_details()
            )

    def _check_root(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(_("is a file, not a folder."), **self._error_details())

    def _error_details(self) -> dict[str, str]:
        """Return the further arguments of an error about this folder."""
        hint = _("Choose another folder with --runs or output.folder.")
        return {"where": one_line(self.root), "hint": hint, "field": "output.folder"}

    def _taken_error(self, name: str) -> UsageError:
        hint = _(
            "Choose another name with --set output.name, or continue it with `tui-tuner resume {name}`.",
            name=one_line(name),
        )
        where = one_line(self.root / name)
        return UsageError(_("a run of this name exists."), where=where, hint=hint, field="output.name")

    def _make_folder(self, name: str, config: RunConfig) -> RunFolder:
        if name != "auto":
            path = self.root / name
            if not _is_left_empty(path):
                path.mkdir(mode=0o700)
            return RunFolder(path)
        model = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.model.name).name).strip("-.")[:40] or "model"
        # Two runs may start in the same second, hence the numbers below.
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.task}-{model}"
        for attempt in range(1000):
            path = self.root / (stem if not attempt else f"{stem}-{attempt + 1}")
            try:
                path.mkdir(mode=0o700)
                return RunFolder(path)
            except FileExistsError:
                continue
        raise FileExistsError(stem)

    def list_runs(self) -> Iterator[RunFolder]:
        """Yield every run folder, newest first."""
        try:
            found = [path for path in self.root.iterdir() if _is_run(path)]
        except OSError:
            return
        yield from (RunFolder(path) for path in sorted(found, key=_read_age, reverse=True))

    def find_run(self, name: str) -> RunFolder:
        """Find a run by name, by path, by an unambiguous beginning of its name, or `last`.

        Raises:
            UsageError: none or several match.
        """
        direct = Path(name).expanduser()
        if (direct / "config.yaml").is_file():
            return RunFolder(direct)
        runs = list(self.list_runs())
        if name == "last" and runs:
            return runs[0]
        exact = [run for run in runs if run.name == name]
        matches = exact or [run for run in runs if run.name.startswith(name)]
        if len(matches) == 1:
            return matches[0]
        where = one_line(self.root)
        if matches:
            names = ", ".join(one_line(run.name) for run in matches[:5])
            raise UsageError(
                _("{name!r} matches several runs: {names}.", name=one_line(name), names=names), where=where
            )
        for folder in (direct, self.root / name):
            if name not in ("", "last") and folder.is_dir():
                raise UsageError(
                    _("this folder holds no config.yaml, so it is not a run."),
                    where=one_line(folder),
                    hint=_("`tui-tuner runs` lists the runs."),
                )
        raise UsageError(
            _("no run {name!r}.", name=one_line(name)), where=where, hint=_("`tui-tuner runs` lists them.")
        )


def check_run_name(name: str) -> None:
    """Raise `UsageError` unless `name` is safe as one folder name."""
    if (
        not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f/\\]{1,100}", name)
        or name.startswith((".", "-"))
        or name == "last"
    ):
        hint = _("Use letters, digits, dots and dashes, without a slash, not starting with a dot or dash.")
        raise UsageError(
            _("{name!r} is not a valid run name.", name=one_line(name)), where="output.name", hint=hint
        )


def _is_left_empty(path: Path) -> bool:
    """Return whether a folder was left by a process that was killed before it had written its config."""
    if path.is_symlink() or not path.is_dir():
        return False
    return all(entry.name.startswith(".config.yaml.") for entry in path.iterdir())


def _is_beginning(body: EventBody) -> bool:
    """Return whether an event shows that a run that had ended continues, or ended again."""
    return isinstance(body, RunStarted | Finished) or (isinstance(body, Phase) and body.name == "loading")


def _is_run(path: Path) -> bool:
    """Return whether a folder is a run, even if its config is a pipe, a dangling link or unreadable."""
    try:
        (path / "config.yaml").lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _read_age(path: Path) -> float:
    try:
        return (path / "config.yaml").stat().st_mtime
    except OSError:
        return 0.0


__all__ = ["RunError", "RunFolder", "RunStore", "check_run_name"]
