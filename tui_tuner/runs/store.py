"""Run folders: where they are, what is in them, who owns them now.

```
runs/NAME/
  config.yaml            what was asked for
  config.resolved.yaml   what every `auto` became
  moment.json            the second that chats are rendered at, where their template writes the date
  manifest.json          host, pid and start time of the process that runs it
  events.jsonl           the journal            control.jsonl   commands to the run
  run.log                output of libraries    ledger.json     the row ledger
  checkpoints/step-N/    resumable              best/ last/     what one takes home
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
    Body,
    CheckpointSaved,
    CommandDone,
    Evaluation,
    Finished,
    Heartbeat,
    Log,
    Phase,
    RunStarted,
    Sample,
    Unknown,
    Warned,
)
from tui_tuner.runs.private import open_private, read_file
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig  # pydantic takes 0.1 s, and a list of runs needs none

_STATE_TAIL = 64 * 1024  # bytes of the journal that tell the state
_WHILE_PAUSED = (Log, Warned, CommandDone, CheckpointSaved, Evaluation, Sample, Unknown)
_SILENT_SECONDS = 60.0  # without a heartbeat, after which a run of another host counts as dead
_CLOCKS_DIFFER = 3600.0  # seconds by which the clock of another host may be ahead
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # the folder is as good as any; another time it may do
_ENDED = ("completed", "stopped", "failed")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run, and its manifest."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def control(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def last(self) -> Path:
        return self.path / "last"

    def config(self) -> RunConfig:
        """The config as it was asked for.

        Raises:
            ConfigError: the file is damaged.
        """
        from tui_tuner.config.load import read_config

        return read_config(self.path / "config.yaml")

    def manifest(self) -> dict[str, Any]:
        """The manifest, or an empty dict where it is missing or damaged."""
        try:
            data = json.loads(read_file(self.path / "manifest.json"))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def write(self, name: str, text: str) -> None:
        """Write a file of the run atomically: beside it, to the disk, then renamed.

        Raises:
            DiskFullError: no room, or the disk refuses.
        """
        target = self.path / name
        import uuid

        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with open(
                open_private(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8"
            ) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise DiskFullError(
                _("cannot be written: {problem}.", problem=error.strerror), where=one_line(target)
            ) from None

    def claim(self, **more: Any) -> None:
        """Write this process into the manifest as the one that runs it."""
        import socket

        from tui_tuner.runs.process_identity import identity

        manifest = self.manifest()
        manifest.update(
            {
                "pid": os.getpid(),
                **identity(os.getpid()),
                "host": socket.gethostname(),
                "claimed": time.time(),
                **more,
            }
        )
        manifest.setdefault("created", time.time())
        self.write("manifest.json", json.dumps(manifest, indent=1))

    def alive(self) -> bool:
        """Whether the process in the manifest still runs: its pid *and* its start; of one on another host, as
        far as its journal tells."""
        import socket

        import psutil

        from tui_tuner.runs.process_identity import runs_still

        manifest = self.manifest()
        if manifest.get("host") not in (None, socket.gethostname()):
            return bool(self.elsewhere())
        try:
            return runs_still(int(manifest["pid"]), manifest)
        except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
            return False

    def elsewhere(self) -> str:
        """The other host that trains this run, on a disk that both see; empty if none seems to.

        Its processes cannot be seen from here, but its heartbeats: they come every 5 s.
        """
        import socket

        host = self.manifest().get("host")
        if not isinstance(host, str) or host == socket.gethostname():
            return ""
        try:
            quiet = time.time() - self.events.stat().st_mtime
        except OSError:
            return ""
        if not -_CLOCKS_DIFFER < quiet < _SILENT_SECONDS:
            return ""
        last, said = self._end()
        # a copy that was made just now is as fresh, and its last words are old
        return host if last not in _ENDED and abs(time.time() - said) < _CLOCKS_DIFFER else ""

    def disown(self) -> None:
        """Forget which process trains this run.

        Raises:
            DiskFullError: the folder cannot be written.
        """
        manifest = self.manifest()
        for name in ("pid", "host", "process", "process_started"):
            manifest.pop(name, None)
        self.write("manifest.json", json.dumps(manifest, indent=1))

    def state(self) -> str:
        """running, paused, completed, stopped, failed, lost (dead without a word) or new (never started)."""
        last, _said = self._end()
        if self.alive() and last not in _ENDED:
            return last or "running"
        if last in _ENDED:
            return last
        return "lost" if last or self.manifest() else "new"

    def _end(self) -> tuple[str, float]:
        """What the end of the journal says of the run, and when; empty and 0 where there is none."""
        from tui_tuner.runs.journal import JournalReader

        last, said = "", 0.0
        for event in JournalReader(self.events, tail=_STATE_TAIL).read():
            said = event.time
            if last in _ENDED and not _begins(event.body):
                continue  # nothing that a thread still had to say makes a run that ended a lost one
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
    """All runs below one folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def create(self, config: RunConfig) -> RunFolder:
        """Make a folder (0700) for a new run and write `config.yaml`.

        Raises:
            UsageError: a run of that name exists, the name is no folder name, or no folder can be made there.
            ConfigError: the config holds what looks like a token or password.
            DiskFullError: the disk has no room, or fails.
        """
        name = config.output.name
        if name != "auto":
            check_name(name)
        from tui_tuner.config import consent
        from tui_tuner.config.load import absolute_paths, dump_config
        from tui_tuner.runs.secrets import refuse_secrets

        config = absolute_paths(config)
        text = dump_config(config)
        refuse_secrets(text, "config")
        consent.remember(config.model)  # to start a run with it is the user's word
        self._look()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = self._make(name, config)
        except FileExistsError:
            raise self._taken(name) from None
        except OSError as error:
            kind = DiskFullError if error.errno in _DISK else UsageError
            words = _("a run cannot be kept here: {problem}.", problem=error.strerror)
            raise kind(words, **self._elsewhere()) from None
        try:
            folder.write("config.yaml", text)
        except DiskFullError:
            with contextlib.suppress(OSError):
                folder.path.rmdir()
            raise
        return folder

    def look(self, name: str) -> None:
        """Whether a run of this name, `auto` or another, could be made: what is told without making it.

        Raises:
            UsageError: a run of that name exists, the name is no folder name, or no folder can be made there.
        """
        if name != "auto":
            check_name(name)
            path = self.root / name
            if os.path.lexists(path) and not _left_empty(path):
                raise self._taken(name)
        self._look()
        above = next(path for path in (self.root, *self.root.absolute().parents) if os.path.lexists(path))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            problem = os.strerror(errno.EACCES if above.is_dir() else errno.ENOTDIR)
            raise UsageError(_("a run cannot be kept here: {problem}.", problem=problem), **self._elsewhere())

    def _look(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(_("is a file, not a folder."), **self._elsewhere())

    def _elsewhere(self) -> dict[str, str]:
        """What an error about this folder says with it."""
        hint = _("Choose another folder with --runs or output.folder.")
        return {"where": one_line(self.root), "hint": hint, "field": "output.folder"}

    def _taken(self, name: str) -> UsageError:
        hint = _(
            "Choose another --set output.name, or go on with `tui-tuner resume {name}`.", name=one_line(name)
        )
        where = one_line(self.root / name)
        return UsageError(_("a run of this name exists."), where=where, hint=hint, field="output.name")

    def _make(self, name: str, config: RunConfig) -> RunFolder:
        if name != "auto":
            path = self.root / name
            if not _left_empty(path):
                path.mkdir(mode=0o700)
            return RunFolder(path)
        model = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.model.name).name).strip("-.")[:40] or "model"
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.task}-{model}"
        for attempt in range(1000):
            path = self.root / (stem if not attempt else f"{stem}-{attempt + 1}")
            try:
                path.mkdir(mode=0o700)
                return RunFolder(path)
            except FileExistsError:
                continue
        raise FileExistsError(stem)

    def runs(self) -> Iterator[RunFolder]:
        """Every run folder, newest first."""
        try:
            found = [path for path in self.root.iterdir() if _is_run(path)]
        except OSError:
            return
        yield from (RunFolder(path) for path in sorted(found, key=_age, reverse=True))

    def find(self, name: str) -> RunFolder:
        """A run by name, by path, by an unambiguous beginning of its name, or `last`.

        Raises:
            RunError: none, or several, match.
        """
        direct = Path(name).expanduser()
        if (direct / "config.yaml").is_file():
            return RunFolder(direct)
        runs = list(self.runs())
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
                _("{name!r} fits several runs: {names}.", name=one_line(name), names=names), where=where
            )
        for folder in (direct, self.root / name):
            if name not in ("", "last") and folder.is_dir():
                raise UsageError(
                    _("this folder holds no config.yaml, so it is no run."),
                    where=one_line(folder),
                    hint=_("`tui-tuner runs` lists the runs."),
                )
        raise UsageError(
            _("no run {name!r}.", name=one_line(name)), where=where, hint=_("`tui-tuner runs` lists them.")
        )


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` is safe as one folder name."""
    if (
        not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f/\\]{1,100}", name)
        or name.startswith((".", "-"))
        or name == "last"
    ):
        hint = _("Use letters, digits, dots and dashes, without a slash, not starting with a dot or dash.")
        raise UsageError(
            _("{name!r} cannot be the name of a run.", name=one_line(name)), where="output.name", hint=hint
        )


def _left_empty(path: Path) -> bool:
    """Whether a folder was left by a process that was killed before it had written its config."""
    if path.is_symlink() or not path.is_dir():
        return False
    return all(entry.name.startswith(".config.yaml.") for entry in path.iterdir())


def _begins(body: Body) -> bool:
    """Whether an event shows that a run that had ended goes on, or ended again."""
    return isinstance(body, RunStarted | Finished) or (isinstance(body, Phase) and body.name == "loading")


def _is_run(path: Path) -> bool:
    """Whether a folder is a run, be its config a pipe, a link that leads nowhere, or not for us to see."""
    try:
        (path / "config.yaml").lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _age(path: Path) -> float:
    try:
        return (path / "config.yaml").stat().st_mtime
    except OSError:
        return 0.0


__all__ = ["RunError", "RunFolder", "RunStore", "check_name"]
