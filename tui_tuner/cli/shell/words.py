"""What a shell is offered for the values of options and arguments: presets, runs, fields, templates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.cli.shell.completion import SHELLS, VARIABLE

_MOST_RUNS = 200
_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Word:
    """One word that could stand there, with the attributes that Click asks for.

    Args:
        whole: What it is compared as, where the shell completes only the end of it.
    """

    value: str
    help: str = ""
    whole: str = ""
    type: str = "plain"

    def goes_on(self, typed: str) -> bool:
        return (self.whole or self.value).startswith(typed)


Offer = Callable[[Any, str], Iterable[Word]]


def offer_words(made: Any, path: str = "") -> None:
    """Let every parameter of a command, and of those below it, offer what it may be.

    Which that is, its placeholder in the help tells; where nothing is offered, a shell offers files.
    """
    for parameter in made.params:
        offer = BY_PLACE.get((path, parameter.name)) or BY_METAVAR.get(
            getattr(parameter, "metavar", None) or ""
        )
        if offer is not None:
            parameter.shell_complete = _among(offer)
    for name, inner in getattr(made, "commands", {}).items():
        offer_words(inner, f"{path} {name}".strip())


def _among(offer: Offer) -> Callable[[Any, str], list[Word]]:
    """Of what is offered, what goes on from what is typed; a Tab never fails."""

    def complete(context: Any, incomplete: str) -> list[Word]:
        try:
            return [word for word in offer(context, incomplete) if word.goes_on(incomplete)]
        except Exception:
            return []

    return complete


def presets(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.config.presets import list_presets
    from tui_tuner.locales import _

    for preset in list_presets():
        yield Word(preset.name, _(preset.description))


def configs(context: Any, incomplete: str) -> Iterator[Word]:
    """Presets, and YAML files beside what is typed."""
    yield from presets(context, incomplete)
    folder, _slash, begun = incomplete.rpartition("/")
    place = Path(os.path.expanduser(folder or ("/" if incomplete.startswith("/") else ".")))
    for found in sorted(place.iterdir()):
        if found.suffix in _YAML and found.name.startswith(begun):
            yield Word(f"{incomplete[: len(incomplete) - len(begun)]}{found.name}")


def runs(context: Any, incomplete: str) -> Iterator[Word]:
    """Runs of the folder that --runs names, the newest first, and `last`."""
    from tui_tuner.runs.store import RunStore

    if incomplete.startswith((".", "/", "~")):
        return
    named = context.params.get("runs") or (context.parent.params.get("runs") if context.parent else None)
    yield Word("last")
    for index, folder in enumerate(RunStore(named or "runs").runs()):
        if index >= _MOST_RUNS:
            return
        if folder.name.isprintable() and " " not in folder.name:
            yield Word(folder.name)


def which_model(context: Any, _incomplete: str) -> Iterator[Word]:
    """The models of the run that is named: best, last, and its checkpoints."""
    from tui_tuner.runs.store import RunStore

    yield from (Word("best"), Word("last"), Word("base"))
    folder = RunStore(context.params.get("runs") or "runs").find(context.params.get("model") or "last")
    steps = [place.name for place in folder.checkpoints.glob("step-*")]
    yield from map(Word, sorted(steps, key=lambda name: int(name.removeprefix("step-"))))


def settings(_context: Any, incomplete: str) -> Iterator[Word]:
    """`section.field=`, and behind the = what the field may be."""
    from tui_tuner.config.options import options
    from tui_tuner.locales import _

    path, equals, _begun = incomplete.partition("=")
    if not equals:
        for option in options().values():
            yield Word(f"{option.path}=", _(option.help))
        return
    # Bash completes the part behind the = alone
    before = "" if os.environ.get(VARIABLE) == "complete_bash" else f"{path}="
    for value in _values(path):
        yield Word(f"{before}{value}", whole=f"{path}={value}")


def _values(path: str) -> Iterator[str]:
    from tui_tuner.config.chat_templates import CHAT_TEMPLATES
    from tui_tuner.config.options import options

    option = options().get(path)
    if option is None:
        return
    if path == "model.chat_template":
        yield from CHAT_TEMPLATES
    yield from option.choices
    yield from ("true", "false") if bool in option.kinds else ()
    if option.optional:
        yield "null"


def formats(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.config.kinds import RECORD_FORMATS
    from tui_tuner.locales import _

    for name, words in RECORD_FORMATS.items():
        yield Word(name, _(words))


def states(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.cli.history import STATES

    yield from map(Word, STATES)


def shells(_context: Any, _incomplete: str) -> Iterator[Word]:
    yield from map(Word, SHELLS)


BY_METAVAR: dict[str, Offer] = {
    "CONFIG": configs,
    "RUN": runs,
    "RUN...": runs,
    "FIELD=VALUE": settings,
    "FORMAT": formats,
    "STATE": states,
    "SHELL": shells,
}
BY_PLACE: dict[tuple[str, str], Offer] = {
    ("presets show", "name"): presets,
    ("ask", "checkpoint"): which_model,
    ("chat", "checkpoint"): which_model,
    ("predict", "checkpoint"): which_model,
}
