"""Plain data about models on a hub or on this machine, and about the progress of a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HUGGINGFACE = "huggingface"
MODELSCOPE = "modelscope"
SOURCES = (HUGGINGFACE, MODELSCOPE)
# Company names are not translated.
LABELS = {HUGGINGFACE: "Hugging Face", MODELSCOPE: "ModelScope"}


@dataclass(frozen=True)
class FoundModel:
    """A model in the results of a search. Facts that the hub does not report are None, "" or False.

    Attributes:
        name: Its id, `owner/name`.
        source: One of `SOURCES`.
        parameters: Number of parameters; None if not reported.
        bytes: Size of its weights, by the types that the hub reports; None if not reported.
        licence: Short name of the licence, such as `apache-2.0`; empty if not reported.
        gated: Its owner approves each account, so a download needs a login and accepted terms.
        downloads: In the last month (Hugging Face) or in total (ModelScope); None if not reported.
        updated: Day of the last change, `2026-05-01`; empty if not reported.
        kind: Its task, by the hub's name: `text-generation`, `fill-mask`...
        languages: Language codes from its card; empty if not reported.
    """

    name: str
    source: str = HUGGINGFACE
    parameters: int | None = None
    bytes: int | None = None
    licence: str = ""
    gated: bool = False
    downloads: int | None = None
    updated: str = ""
    kind: str = ""
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class HubFile:
    """A file of a model on a hub.

    Attributes:
        size: Bytes; None if not reported.
        sha256: Checksum of its content, which the hub has for large files; else empty.
        git: Its git blob id (a SHA-1 with a header), if the hub reports it; else empty.
    """

    name: str
    size: int | None = None
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True)
class ModelDescription:
    """A model on a hub, and what fetching it would take.

    Attributes:
        revision: The revision that was requested; None is the hub's default branch.
        commit: The commit that it resolves to now.
        files: The files that a fetch downloads, out of all that the hub has.
        bytes: Total size of these files; files of unknown size are left out.
        here: Bytes of these files that are already on this machine, in complete files and in parts.
        config: Its `config.json`; None if it has none or it was not available.
        safetensors: Whether it has weights in that format, the only one that is loaded.
        pickled: Whether it has weights as Python pickles.
        remote_code: Whether it needs Python code that comes with it (`model.trust_remote_code`).
        page: Address of its web page.
    """

    name: str
    source: str
    revision: str | None
    commit: str
    files: tuple[HubFile, ...]
    bytes: int
    here: int = 0
    parameters: int | None = None
    licence: str = ""
    gated: bool = False
    downloads: int | None = None
    updated: str = ""
    kind: str = ""
    # Not compared, as a frozen dataclass must stay hashable.
    config: dict[str, Any] | None = field(default=None, compare=False)
    safetensors: bool = True
    pickled: bool = False
    remote_code: bool = False
    page: str = ""
    languages: tuple[str, ...] = ()

    @property
    def missing_bytes(self) -> int:
        """Return the bytes that are still to be downloaded."""
        return max(0, self.bytes - self.here)


@dataclass(frozen=True)
class Progress:
    """Progress of a download. Bytes are totals over all files, including what was here before.

    Attributes:
        file: The file that is being downloaded; empty before the first and after the last.
        note: Why nothing moves, as text: a pause before another attempt, another process; else empty.
        rate: Recent bytes per second; None while unknown.
    """

    file: str
    done: int
    total: int
    files_done: int
    files_total: int
    note: str = ""
    rate: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Return the remaining seconds at the recent rate; None while unknown."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        source: One of `SOURCES`, or `folder` for a model outside of the hubs' caches.
        revision: The commit (or ModelScope revision); empty for a folder.
        path: The folder that holds config.json.
        bytes: Size on disk, parts of files included.
        whole: Whether it can be loaded: config.json and all its safetensors files are there.
        used: When it was last read, in seconds since 1970; 0 if unknown.
        missing: What a partial model lacks, as text; empty for a complete one.
    """

    name: str
    source: str
    revision: str
    path: Path
    bytes: int
    whole: bool
    used: float = 0.0
    missing: str = ""


@dataclass(frozen=True)
class Account:
    """The account that is logged in to a hub.

    Attributes:
        name: Name of the account; empty if the hub could not be reached.
        origin: Where the token comes from: an environment variable or a file. Never the token.
    """

    name: str
    source: str
    origin: str


ProgressCall = Callable[[Progress], None]
CancelledCall = Callable[[], bool]


class FetchCancelled(Exception):
    """Raised when a fetch was asked to stop. Downloaded parts stay, and the next fetch resumes from them."""
