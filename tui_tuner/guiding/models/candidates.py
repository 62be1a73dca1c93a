"""Models that a run may begin with: of this machine, of this package, known beforehand, found by a hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds import TINY, TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.models.cards.published import BASE, CHAT, ENCODER, Published, published
from tui_tuner.models.cards.reading import CardWords, has_chat_template, read_card
from tui_tuner.models.hub.kinds import HUGGINGFACE, SOURCES

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import LocalModel

FOLDER, CACHE, RUN, PACKAGE, CATALOG, HUB = "folder", "cache", "run", "package", "catalog", "hub"
_MOST_RUNS = 40  # newest, whose final models are looked for
_CHAT_ENDINGS = ("-instruct", "-it", "-chat", "-chat-hf", "-chat-v1.0")
_BASE_ENDINGS = ("-base", "-pt")


@dataclass(frozen=True)
class Candidate:
    """A model, as far as it is known without a plan.

    Args:
        name: What `model.name` takes.
        origin: Where it is from: a folder, a hub's cache, a run, this package, the catalogue, a hub.
        source: The hub that it is of; empty for what is none's.
        folder: Where its config.json is on this machine.
        fetch: Bytes that have to be fetched; 0 for one that is here, None where nobody knows.
        missing: What one of this machine lacks, in words.
        kind: `chat`, `base` or `encoder`; empty where nobody knows.
        config: Its config.json, where a hub or the catalogue gave it.
    """

    name: str
    origin: str
    source: str = ""
    folder: Path | None = None
    fetch: int | None = 0
    missing: str = ""
    kind: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    gated: bool = False
    first: bool = False
    parameters: int | None = None
    used: float = 0.0
    config: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def here(self) -> bool:
        """Whether it can be loaded without a network."""
        return self.origin in (FOLDER, CACHE, RUN, PACKAGE) and not self.missing

    @property
    def key(self) -> str:
        return f"{self.source}:{self.name}"


def of_package(kind: TaskKind) -> Candidate:
    """The model inside this package that a task can be tried with: a toy."""
    if kind.tiny and not kind.writes:
        return Candidate(TINY, PACKAGE, kind=ENCODER, licence="apache-2.0")
    return Candidate("demo", PACKAGE, kind=CHAT, licence="apache-2.0", languages=("en",))


def of_machine(folder: Path, runs: Path) -> list[Candidate]:
    """Models in the caches of the hubs, below a folder, and made by runs; used last first."""
    from tui_tuner.models.hub.local import local_models

    found: dict[str, Candidate] = {}
    for candidate in [*map(_local, local_models(folder)), *_of_runs(runs)]:
        found.setdefault(str(candidate.folder or candidate.key), candidate)
    return sorted(found.values(), key=lambda one: (bool(one.missing), -one.used, one.name))


def _local(model: LocalModel) -> Candidate:
    on_hub = model.source in SOURCES
    path = model.path.absolute()
    origin = CACHE if on_hub else RUN if _is_of_run(path) else FOLDER
    return _from_folder(
        Candidate(
            model.name if on_hub else str(path),
            origin,
            model.source if on_hub else "",
            path if (path / "config.json").is_file() else None,
            missing=model.missing if not model.whole else "",
            fetch=0 if model.whole else None,
            used=model.used,
        )
    )


def _is_of_run(path: Path) -> bool:
    return path.name in ("best", "last") and (path.parent / "events.jsonl").is_file()


def _of_runs(root: Path) -> Iterator[Candidate]:
    """The final models of runs that trained every weight; an adapter is no model of its own."""
    from itertools import islice

    from tui_tuner.models.hub.local import lacks
    from tui_tuner.runs.store import RunStore

    for run in islice(RunStore(root).runs(), _MOST_RUNS):
        for place in (run.best, run.last):
            if (place / "config.json").is_file() and not lacks(place):
                path = place.absolute()
                yield _from_folder(Candidate(str(path), RUN, folder=path, used=path.stat().st_mtime))
                break


def _from_folder(candidate: Candidate) -> Candidate:
    """A model of this machine with what its folder says, and what is published of its name."""
    known = published(candidate.name) if candidate.source else None
    card = read_card(candidate.folder) if candidate.folder is not None else CardWords()
    if known is None and card.based_on:
        based = next(filter(None, map(published, card.based_on)), None)
        card = replace(card, languages=card.languages or (based.languages if based else ()))
    kind = known.kind if known else ""
    if not kind and candidate.folder is not None:
        template = has_chat_template(candidate.folder)
        kind = "" if template is None else CHAT if template else BASE
    return _told(replace(candidate, kind=kind), known, card)


def _told(candidate: Candidate, known: Published | None, card: CardWords | None = None) -> Candidate:
    """What its own card says comes before what is known of its name."""
    card = card or CardWords()
    return replace(
        candidate,
        licence=candidate.licence or card.licence or (known.licence if known else ""),
        languages=candidate.languages or card.languages or (known.languages if known else ()),
        gated=candidate.gated or bool(known and known.gated and not candidate.here),
        first=bool(known and known.first),
    )


@cache
def of_catalog() -> tuple[Candidate, ...]:
    """Models whose shapes this package knows: every good first choice, and one name of each other shape."""
    from tui_tuner.models.catalog import entries

    found = []
    for entry in entries():
        owned = [name for name in entry.ids if "/" in name] or list(entry.ids)
        good = [name for name in owned if (card := published(name)) is not None and card.first]
        for name in good or owned[-1:]:
            known = published(name)
            kind = known.kind if known else kind_by_name(name)
            made = Candidate(
                name,
                CATALOG,
                HUGGINGFACE,
                fetch=None,
                kind=kind,
                parameters=entry.parameters,
                config=entry.config,
            )
            found.append(_told(made, known))
    return tuple(found)


def kind_by_name(name: str) -> str:
    """What a model is for, by how makers end names; empty for most."""
    plain = name.lower()
    if plain.endswith(_CHAT_ENDINGS):
        return CHAT
    return BASE if plain.endswith(_BASE_ENDINGS) else ""


def of_hub(kind: TaskKind, known: set[str], most: int = 20) -> list[Candidate]:
    """Models that the hub names for a task, most used first, without their configs.

    Raises:
        TunerError: it cannot be reached, or refuses.
    """
    from tui_tuner.models.hub.api import search

    words = "base" if kind.plain_text else "instruct" if kind.writes else "bert"
    found = []
    for model in search(words, limit=most):
        made = Candidate(
            model.name,
            HUB,
            model.source,
            fetch=model.bytes,
            kind=ENCODER if model.kind == "fill-mask" else kind_by_name(model.name),
            licence=model.licence,
            languages=model.languages,
            gated=model.gated,
            parameters=model.parameters,
        )
        if made.key.lower() not in known:
            found.append(_told(made, published(model.name)))
    return found


def described(candidate: Candidate) -> Candidate | None:
    """A model of a hub with its config; None where it has none, needs code of its own, or is not told of."""
    from tui_tuner.models.hub.api import describe

    try:
        told = describe(candidate.name, source=candidate.source or HUGGINGFACE)
    except TunerError:
        return None
    if not told.config or not told.safetensors or told.remote_code:
        return None
    return replace(
        candidate,
        config=told.config,
        fetch=told.missing,
        parameters=candidate.parameters or told.parameters,
        licence=candidate.licence or told.licence,
        languages=candidate.languages or told.languages,
        gated=candidate.gated or told.gated,
    )
