"""The user's consent to run the code that comes with a model.

`model.trust_remote_code` in a config that the user wrote counts as consent and is remembered here, for the
model and its code in their current state. In a run folder, which may come from someone else, it only records
what that person did: it counts if this user has consented to exactly that model on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tui_tuner.config.sections.model import ModelSection
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line

FIELD = "model.trust_remote_code"
_FILE = "consents.json"
_OF_A_RUN = ("manifest.json", "events.jsonl")
_MOST_BYTES = 64 << 20  # of code that is hashed; larger files never count as unchanged
_here: set[str] = set()  # consents of this process, which count even if they cannot be saved


def is_code_allowed(model: ModelSection) -> bool:
    """Return whether the code of this model may run: none is requested, or this user has consented."""
    return not model.trust_remote_code or _identify_model(model) in _here | set(_read_given())


def record_code_consent(model: ModelSection) -> bool:
    """Record the user's consent to this model's code; return whether it was saved for later processes."""
    if not model.trust_remote_code:
        return True
    key = _identify_model(model)
    _here.add(key)
    given = _read_given()
    if key in given:
        return True
    given[key] = {"model": model.name, "time": round(time.time())}
    return _write_given(given)


def require_code_consent(model: ModelSection, where: str, hint: str) -> None:
    """Raise `ConfigError` unless the code of this model may run."""
    if is_code_allowed(model):
        return
    raise ConfigError(
        _(
            "is true in this run folder, but you have not agreed to run the current code that comes with "
            "{model}.",
            model=one_line(model.name, 120),
        ),
        where=f"{one_line(where)}: {FIELD}" if where else FIELD,
        hint=hint,
    )


def is_run_config(config: Path) -> bool:
    """Return whether a config file, or the target if it is a link, is in a run folder, so that it may be
    another user's.
    """
    folders = {config.absolute().parent, Path(os.path.realpath(config)).parent}
    return any(os.path.lexists(folder / name) for folder in folders for name in _OF_A_RUN)


def _identify_model(model: ModelSection) -> str:
    """Return a digest of the sources of a model and its tokenizer and, for folders, of the code in them."""
    names = [(model.name, model.revision)]
    if model.tokenizer not in (None, "train"):
        names.append((str(model.tokenizer), None))
    digest = hashlib.sha256()
    for name, revision in names:
        path = Path(name).expanduser()
        if os.path.isdir(path):
            digest.update(f"folder {path.resolve()}\0".encode("utf-8", "surrogateescape"))
            for file in _list_code(path):
                digest.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
                digest.update(_read_content(file))
        else:
            digest.update(f"hub {name}@{revision or 'main'}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _list_code(folder: Path) -> Iterable[Path]:
    """Return the files with a model's code, and the configs that name the code to run."""
    found = [path for path in folder.rglob("*.py") if path.is_file()]
    return sorted([*found, *(path for path in folder.glob("*config.json") if path.is_file())])


def _read_content(path: Path) -> bytes:
    with suppress(OSError):
        if path.stat().st_size <= _MOST_BYTES:
            return hashlib.sha256(path.read_bytes()).digest()
    return os.urandom(16)  # a file that cannot be hashed never matches an earlier consent


def _find_folder() -> Path:
    import platformdirs

    return platformdirs.user_state_path("tui-tuner", appauthor=False)


def _read_given() -> dict[str, Any]:
    """Read the saved consents; empty if the file is missing, damaged, or writable by others."""
    with suppress(OSError, ValueError, RuntimeError, RecursionError):
        fd = os.open(_find_folder() / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, encoding="utf-8") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            given = json.loads(file.read(1 << 20))
            return given if isinstance(given, dict) else {}
    return {}


def _write_given(given: dict[str, Any]) -> bool:
    with suppress(OSError, RuntimeError):
        folder = _find_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = folder / f".{_FILE}.{os.getpid()}"
        with suppress(FileNotFoundError):
            beside.unlink()
        # O_EXCL and O_NOFOLLOW: a link of that name, placed by someone else, must not be written through.
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(given, file, indent=1)
        beside.replace(folder / _FILE)
        return True
    return False
