"""Whether this user has agreed to run the code that comes with a model.

`model.trust_remote_code` in a config that the user wrote is their word, and is remembered here, for the model
and its code as they are. In a run folder, which may be a stranger's, it is only a note of what somebody else
did: it counts if the word was given for that very model, on this machine, by this user.
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
_MOST_BYTES = 64 << 20  # of code that is compared; what is larger is code that nobody has read
_here: set[str] = set()  # given in this process, also where nothing can be kept


def allowed(model: ModelSection) -> bool:
    """Whether the code of this model may run: it is not asked for, or this user has agreed."""
    return not model.trust_remote_code or _identity(model) in _here | set(_given())


def remember(model: ModelSection) -> bool:
    """Take down that the user agrees to this model's code; whether it could be kept for later processes."""
    if not model.trust_remote_code:
        return True
    key = _identity(model)
    _here.add(key)
    given = _given()
    if key in given:
        return True
    given[key] = {"model": model.name, "time": round(time.time())}
    return _write(given)


def require(model: ModelSection, where: str, hint: str) -> None:
    """Raise `ConfigError` unless the code of this model may run."""
    if allowed(model):
        return
    raise ConfigError(
        _(
            "is true in this run folder, and you have not agreed to run the code that comes with {model}, as "
            "it is now.",
            model=one_line(model.name, 120),
        ),
        where=f"{one_line(where)}: {FIELD}" if where else FIELD,
        hint=hint,
    )


def of_a_run(config: Path) -> bool:
    """Whether a config file, or what a link of that name leads to, lies in a run folder, so that nobody needs
    to have written it.
    """
    folders = {config.absolute().parent, Path(os.path.realpath(config)).parent}
    return any(os.path.lexists(folder / name) for folder in folders for name in _OF_A_RUN)


def _identity(model: ModelSection) -> str:
    """A digest of where a model and its tokenizer come from and, of folders, of the code in them."""
    names = [(model.name, model.revision)]
    if model.tokenizer not in (None, "train"):
        names.append((str(model.tokenizer), None))
    digest = hashlib.sha256()
    for name, revision in names:
        path = Path(name).expanduser()
        if os.path.isdir(path):
            digest.update(f"folder {path.resolve()}\0".encode("utf-8", "surrogateescape"))
            for file in _code(path):
                digest.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
                digest.update(_content(file))
        else:
            digest.update(f"hub {name}@{revision or 'main'}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _code(folder: Path) -> Iterable[Path]:
    """Code of a model, and what says which code is run."""
    found = [path for path in folder.rglob("*.py") if path.is_file()]
    return sorted([*found, *(path for path in folder.glob("*config.json") if path.is_file())])


def _content(path: Path) -> bytes:
    with suppress(OSError):
        if path.stat().st_size <= _MOST_BYTES:
            return hashlib.sha256(path.read_bytes()).digest()
    return os.urandom(16)  # cannot be compared, so it is never the same


def _folder() -> Path:
    import platformdirs

    return platformdirs.user_state_path("tui-tuner", appauthor=False)


def _given() -> dict[str, Any]:
    """What was agreed to; nothing where the file is not this user's alone, missing or damaged."""
    with suppress(OSError, ValueError, RuntimeError, RecursionError):
        fd = os.open(_folder() / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, encoding="utf-8") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            given = json.loads(file.read(1 << 20))
            return given if isinstance(given, dict) else {}
    return {}


def _write(given: dict[str, Any]) -> bool:
    with suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = folder / f".{_FILE}.{os.getpid()}"
        with suppress(FileNotFoundError):
            beside.unlink()
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(given, file, indent=1)
        beside.replace(folder / _FILE)
        return True
    return False
