"""Models that a run can start from: on this machine, in this package, in the catalogue, and on hubs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.tasks import TINY, TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.models.cards.model_card import CardWords, has_chat_template, read_card
from tui_tuner.models.cards.published import BASE, CHAT, ENCODER, REWRITER, PublishedCard, find_published_card
from tui_tuner.models.hub.kinds import HUGGINGFACE, SOURCES

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import LocalModel

FOLDER, CACHE, RUN, PACKAGE, CATALOG, HUB = "folder", "cache", "run", "package", "catalog", "hub"
_MOST_RUNS = 40  # the newest runs, whose final models are offered
_CHAT_ENDINGS = ("-instruct", "-it", "-chat", "-chat-hf", "-chat-v1.0")
_BASE_ENDINGS = ("-base", "-pt")


@dataclass(frozen=True)
class Candidate:
    """A model and what is known of it without planning a run.

    Args:
        name: What `model.name` takes.
        origin: Where it comes from: a folder, a hub's cache, a run, this package, the catalogue, a hub.
        source: Its hub; empty if it comes from none.
        folder: The folder of its config.json on this machine.
        fetch: Bytes to download; 0 for a model on this machine, None if unknown.
        missing: What an incomplete model on this machine lacks, in words.
        kind: `chat`, `base` or `encoder`; empty if unknown.
        config: Its config.json, if a hub or the catalogue provided it.
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
    def is_here(self) -> bool:
        """Return whether it can be loaded without a network."""
        return self.origin in (FOLDER, CACHE, RUN, PACKAGE) and not self.missing

    @property
    def candidate_key(self) -> str:
        return f"{self.source}:{self.name}"


def find_package_model(kind: TaskKind) -> Candidate:
    """Return the toy model of this package that a task can be tried with."""
    if kind.tiny:
        made = REWRITER if kind.encoder_decoder else ENCODER
        return Candidate(TINY, PACKAGE, kind=made, licence="apache-2.0")
    return Candidate("demo", PACKAGE, kind=CHAT, licence="apache-2.0", languages=("en",))


def list_machine_models(folder: Path, runs: Path) -> list[Candidate]:
    """List models in hub caches, below a folder, and made by runs; the most recently used first."""
    from tui_tuner.models.hub.local import list_models_on_machine

    found: dict[str, Candidate] = {}
    for candidate in [*map(_convert_local, list_models_on_machine(folder)), *_list_run_models(runs)]:
        # A run's model may also be found as a folder; the first source that knows it wins
        found.setdefault(str(candidate.folder or candidate.candidate_key), candidate)
    return sorted(found.values(), key=lambda one: (bool(one.missing), -one.used, one.name))


def _convert_local(model: LocalModel) -> Candidate:
    on_hub = model.source in SOURCES
    path = model.path.absolute()
    origin = CACHE if on_hub else RUN if _is_of_run(path) else FOLDER
    return _read_folder_facts(
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


def _list_run_models(root: Path) -> Iterator[Candidate]:
    """Yield final models of runs that trained every weight; an adapter is not a model of its own."""
    from itertools import islice

    from tui_tuner.models.hub.local import describe_missing_files
    from tui_tuner.runs.store import RunStore

    for run in islice(RunStore(root).list_runs(), _MOST_RUNS):
        # One model per run: the best one, or the last if none was marked best
        for place in (run.best_path, run.last_path):
            if (place / "config.json").is_file() and not describe_missing_files(place):
                path = place.absolute()
                yield _read_folder_facts(Candidate(str(path), RUN, folder=path, used=path.stat().st_mtime))
                break


def _read_folder_facts(candidate: Candidate) -> Candidate:
    """Complete a model on this machine with the facts in its folder and those published about its name."""
    known = find_published_card(candidate.name) if candidate.source else None
    card = read_card(candidate.folder) if candidate.folder is not None else CardWords()
    # A fine-tuned model's card often leaves out the languages; those of its base still hold
    if known is None and card.based_on:
        based = next(filter(None, map(find_published_card, card.based_on)), None)
        card = replace(card, languages=card.languages or (based.languages if based else ()))
    kind = known.kind if known else ""
    if not kind and candidate.folder is not None:
        template = has_chat_template(candidate.folder)
        kind = "" if template is None else CHAT if template else BASE
    return _fill_in_facts(replace(candidate, kind=kind), known, card)


def _fill_in_facts(
    candidate: Candidate, known: PublishedCard | None, card: CardWords | None = None
) -> Candidate:
    """Fill in licence, languages and gating; its own card takes precedence over facts about its name."""
    card = card or CardWords()
    return replace(
        candidate,
        licence=candidate.licence or card.licence or (known.licence if known else ""),
        languages=candidate.languages or card.languages or (known.languages if known else ()),
        # A gated model that is here already can be used, whatever its owner asks of others
        gated=candidate.gated or bool(known and known.gated and not candidate.is_here),
        first=bool(known and known.first),
    )


@cache
def list_catalog_models() -> tuple[Candidate, ...]:
    """List models of the catalogue: all recommended ones, and one name for each other shape."""
    from tui_tuner.models.catalog import list_catalog_entries

    found = []
    for entry in list_catalog_entries():
        owned = [name for name in entry.ids if "/" in name] or list(entry.ids)
        good = [name for name in owned if (card := find_published_card(name)) is not None and card.first]
        # The names of an entry share one shape: without a recommendation, one of them is enough
        for name in good or owned[-1:]:
            known = find_published_card(name)
            kind = known.kind if known else guess_model_kind(name)
            made = Candidate(
                name,
                CATALOG,
                HUGGINGFACE,
                fetch=None,
                kind=kind,
                parameters=entry.parameters,
                config=entry.config,
            )
            found.append(_fill_in_facts(made, known))
    return tuple(found)


def guess_model_kind(name: str) -> str:
    """Guess the kind of a model from the ending of its name; empty for most names."""
    plain = name.lower()
    if plain.endswith(_CHAT_ENDINGS):
        return CHAT
    return BASE if plain.endswith(_BASE_ENDINGS) else ""


def search_hub_models(kind: TaskKind, known: set[str], most: int = 20) -> list[Candidate]:
    """Search the hub for models for a task, most used first, without their configs.

    Raises:
        TunerError: the hub cannot be reached or refuses.
    """
    from tui_tuner.models.hub.api import search_models_on_hub

    # Search words that makers of such models usually put in the names
    words = "base" if kind.plain_text and kind.writes else "instruct" if kind.writes else "bert"
    words = "t5" if kind.encoder_decoder else words
    found = []
    for model in search_models_on_hub(words, limit=most):
        made = Candidate(
            model.name,
            HUB,
            model.source,
            fetch=model.bytes,
            kind=ENCODER if model.kind == "fill-mask" else guess_model_kind(model.name),
            licence=model.licence,
            languages=model.languages,
            gated=model.gated,
            parameters=model.parameters,
        )
        if made.candidate_key.lower() not in known:
            found.append(_fill_in_facts(made, find_published_card(model.name)))
    return found


def fetch_candidate_config(candidate: Candidate) -> Candidate | None:
    """Fetch the config of a hub's model; None if it has none, needs remote code, or lacks safetensors."""
    from tui_tuner.models.hub.api import describe_hub_model

    try:
        told = describe_hub_model(candidate.name, source=candidate.source or HUGGINGFACE)
    except TunerError:
        return None
    # Without a config no plan is possible; pickled weights and remote code are not offered to beginners
    if not told.config or not told.safetensors or told.remote_code:
        return None
    return replace(
        candidate,
        config=told.config,
        fetch=told.missing_bytes,
        parameters=candidate.parameters or told.parameters,
        licence=candidate.licence or told.licence,
        languages=candidate.languages or told.languages,
        gated=candidate.gated or told.gated,
    )
