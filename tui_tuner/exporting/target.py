"""The interface of a target: implement this, and name it in `exporting.kinds.TARGETS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.kinds import TARGETS, TargetKind

if TYPE_CHECKING:
    from tui_tuner.exporting.parity.report import ParityReport
    from tui_tuner.exporting.source import Source


class ExportCancelled(Exception):
    """The user stopped the export."""


SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class ExportOptions:
    """What was asked for, in plain values that another process can be given.

    Args:
        to: The name of the target.
        output: The folder to write, which must not exist; empty for a hub.
        quantize: A word of `TargetKind.quantizations`; empty for the default.
        shard_bytes: The most bytes of one file of weights.
        repo: The name of a repository on a hub.
        private: Whether a new repository is private.
        device: Where parity is computed: `cpu`, `cuda:0` or `auto`.
        parity: Whether the result is loaded and compared.
        held_out: How many held-out rows a loss is measured on, where one is measured.
        base: The base model of a whole one, for its delta.
        merge: Whether a hub gets the merged model rather than the adapter.
    """

    to: str
    output: str = ""
    quantize: str = ""
    shard_bytes: int = SHARD_BYTES
    repo: str = ""
    private: bool = True
    device: str = "auto"
    parity: bool = True
    held_out: int = 64
    merge: bool = False
    base: str = ""


@dataclass
class ExportJob:
    """An export that is under way, as targets see it.

    Args:
        say: Reports progress: what is done (a sentence), how much of it, of how much (0 if unknown), the unit
            (`bytes` or empty).
        cancelled: Whether it is to stop.
        notes: Sentences for the user that targets add: what was left out, what something costs.
        facts: Values that go into `export.json` beside the export; those whose names begin with `_` do not.
    """

    source: Source
    options: ExportOptions
    say: Callable[[str, int, int, str], None] = lambda *_: None
    cancelled: Callable[[], bool] = lambda: False
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def stop_if_asked(self) -> None:
        """Raise `ExportCancelled` if the export is to stop."""
        if self.cancelled():
            raise ExportCancelled

    def note(self, sentence: str) -> None:
        """Add a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


class Target(ABC):
    """Something that a result is exported to. It keeps no state: one object serves all exports.

    Args:
        name: Its name in `exporting.kinds.TARGETS`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def kind(self) -> TargetKind:
        """Return its entry in the registry: words and forms."""
        return TARGETS[self.name]

    @abstractmethod
    def expect_bytes(self, job: ExportJob) -> int:
        """Return how many bytes the export will have on the disk, from headers and shapes alone."""

    def needs_bytes(self, job: ExportJob) -> int:
        """Return how many bytes the disk must have free, with what is written on the way."""
        return self.expect_bytes(job)

    def check(self, job: ExportJob) -> None:  # noqa: B027
        """Check before any work that the source can be exported to this; add notes about what it leaves out.

        Raises:
            TunerError: it cannot, with what can be done instead.
        """

    @abstractmethod
    def write(self, job: ExportJob, folder: Path) -> None:
        """Write the export into an empty folder, which gets its final name once all is written and proved.

        Raises:
            TunerError: it failed.
        """

    @abstractmethod
    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        """Load the export with the program it is for, and compare its answers with those of the source."""

    def publish(self, job: ExportJob, folder: Path) -> None:  # noqa: B027
        """Send a proved export to where it belongs, if that is not a folder of this machine."""

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        """Return (language, code) that loads the export, run in its folder, for the model card."""
        return "bash", ""


def read_options(values: Mapping[str, Any]) -> ExportOptions:
    """Rebuild options from plain values; unknown names are left out."""
    known = ExportOptions.__dataclass_fields__
    return ExportOptions(**{name: value for name, value in values.items() if name in known})
