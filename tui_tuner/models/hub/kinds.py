"""What is known of a model on a hub or on this machine, and how far a download is. Plain data, no imports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HUGGINGFACE = "huggingface"
MODELSCOPE = "modelscope"
SOURCES = (HUGGINGFACE, MODELSCOPE)
LABELS = {HUGGINGFACE: "Hugging Face", MODELSCOPE: "ModelScope"}  # names of companies: not translated


@dataclass(frozen=True)
class Found:
    """A model as a search of a hub tells it. What the hub does not say is None, "" or False.

    Attributes:
        name: Its id, `owner/name`.
        source: One of `SOURCES`.
        parameters: How many; None if the hub does not tell.
        bytes: Of its weights, by the types that the hub tells; None if it does not.
        licence: Its short name, such as `apache-2.0`; empty if not told.
        gated: Its owner wants to know who asks, so one has to log in and accept terms.
        downloads: In the last month (Hugging Face) or ever (ModelScope); None if not told.
        updated: Day of the last change, `2026-05-01`; empty if not told.
        kind: What it is for, by the hub's word: `text-generation`, `fill-mask`...
        languages: Their codes, by its card; empty if not told.
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
        size: Bytes; None if the hub does not tell.
        sha256: Of its content, where the hub keeps large files by that; else empty.
        git: Its git blob id (a SHA-1 with a header), where the hub tells that; else empty.
    """

    name: str
    size: int | None = None
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True)
class Described:
    """A model on a hub, and what fetching it would take.

    Attributes:
        revision: As asked for; None is the hub's default branch.
        commit: What that is now.
        files: Those that a fetch takes, of all that the hub has.
        bytes: Of these files together; files of unknown size are left out.
        here: Bytes of these files that are on this machine already, of whole files and of parts.
        config: Its `config.json`; None if it has none or it was not to be had.
        safetensors: Whether it has weights in that format; others are not loaded.
        pickled: Whether it has weights as Python pickles.
        remote_code: Whether it needs Python code that comes with it (`model.trust_remote_code`).
        page: Where people read about it.
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
    config: dict[str, Any] | None = field(default=None, compare=False)
    safetensors: bool = True
    pickled: bool = False
    remote_code: bool = False
    page: str = ""
    languages: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return max(0, self.bytes - self.here)


@dataclass(frozen=True)
class Progress:
    """How far a fetch is. Bytes are of all files together, and count what lay here before.

    Attributes:
        file: The one that moves just now; empty before the first and after the last.
        note: Why it does not move, in words: a pause before another attempt, another process; else empty.
        rate: Bytes a second lately; None while that is not known.
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
        """At the rate of late; None while that is not known."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        source: One of `SOURCES`, or `folder` for one that no hub's cache holds.
        revision: The commit (or ModelScope revision); empty for a folder.
        path: The folder that holds config.json.
        bytes: On the disk, parts of files included.
        whole: Whether it can be loaded: config.json and all its safetensors files are there.
        used: When it was read last, seconds since 1970; 0 if not known.
        missing: What a partial one lacks, in words; empty for a whole one.
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
class Who:
    """Who is logged in to a hub.

    Attributes:
        name: Empty if the hub could not be asked.
        origin: Where the token is from: a variable of the environment, or a file. Never the token.
    """

    name: str
    source: str
    origin: str


ProgressCall = Callable[[Progress], None]
CancelledCall = Callable[[], bool]


class Cancelled(Exception):
    """The fetch was asked to stop. What was fetched stays, and the next fetch goes on from there."""
