"""Completions for the values of options and arguments: presets, runs, fields, templates."""

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
    """A possible word, with the attributes that Click expects.

    Args:
        whole: The text to compare with the input, if the shell completes only the end of the word.
    """

    value: str
    help: str = ""
    whole: str = ""
    type: str = "plain"

    def begins_with(self, typed: str) -> bool:
        return (self.whole or self.value).startswith(typed)


Offer = Callable[[Any, str], Iterable[Word]]


def offer_words(made: Any, path: str = "") -> None:
    """Attach completions to every parameter of a command and its subcommands.

    The placeholder in its help decides which; without completions, the shell offers files.
    """
    for parameter in made.params:
        offer = BY_PLACE.get((path, parameter.name)) or BY_METAVAR.get(
            getattr(parameter, "metavar", None) or ""
        )
        if offer is not None:
            parameter.shell_complete = _filter_offer(offer)
    for name, inner in getattr(made, "commands", {}).items():
        offer_words(inner, f"{path} {name}".strip())


def _filter_offer(offer: Offer) -> Callable[[Any, str], list[Word]]:
    """Wrap an offer so that it only returns words that begin with the input, and never fails."""

    def complete_word(context: Any, incomplete: str) -> list[Word]:
        try:
            return [word for word in offer(context, incomplete) if word.begins_with(incomplete)]
        # An error message would end up in the middle of the user's command line
        except Exception:
            return []

    return complete_word


def offer_presets(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.config.presets import list_presets
    from tui_tuner.locales import _

    for preset in list_presets():
        yield Word(preset.name, _(preset.description))


def offer_configs(context: Any, incomplete: str) -> Iterator[Word]:
    """Yield presets, and YAML files in the folder of the input."""
    yield from offer_presets(context, incomplete)
    folder, _slash, begun = incomplete.rpartition("/")
    place = Path(os.path.expanduser(folder or ("/" if incomplete.startswith("/") else ".")))
    for found in sorted(place.iterdir()):
        if found.suffix in _YAML and found.name.startswith(begun):
            yield Word(f"{incomplete[: len(incomplete) - len(begun)]}{found.name}")


def offer_runs(context: Any, incomplete: str) -> Iterator[Word]:
    """Yield `last` and the runs in the folder of --runs, newest first."""
    from tui_tuner.runs.store import RunStore

    # A path: the shell completes files itself
    if incomplete.startswith((".", "/", "~")):
        return
    # `runs` subcommands take --runs before or after their own name
    named = context.params.get("runs") or (context.parent.params.get("runs") if context.parent else None)
    yield Word("last")
    for index, folder in enumerate(RunStore(named or "runs").list_runs()):
        if index >= _MOST_RUNS:
            return
        # Other names would need quoting, which differs between shells
        if folder.name.isprintable() and " " not in folder.name:
            yield Word(folder.name)


def offer_checkpoints(context: Any, _incomplete: str) -> Iterator[Word]:
    """Yield the models of the named run: best, last, base, and its checkpoints."""
    from tui_tuner.runs.store import RunStore

    # Offered before the run is looked up, which may fail
    yield from (Word("best"), Word("last"), Word("base"))
    folder = RunStore(context.params.get("runs") or "runs").find_run(context.params.get("model") or "last")
    steps = [place.name for place in folder.checkpoints_path.glob("step-*")]
    yield from map(Word, sorted(steps, key=lambda name: int(name.removeprefix("step-"))))


def offer_settings(_context: Any, incomplete: str) -> Iterator[Word]:
    """Yield `section.field=`, or after the = the values of that field."""
    from tui_tuner.config.options import list_options
    from tui_tuner.locales import _

    path, equals, _begun = incomplete.partition("=")
    if not equals:
        for option in list_options().values():
            yield Word(f"{option.path}=", _(option.help))
        return
    # Bash completes only the part after the =
    before = "" if os.environ.get(VARIABLE) == "complete_bash" else f"{path}="
    for value in _list_values(path):
        yield Word(f"{before}{value}", whole=f"{path}={value}")


def _list_values(path: str) -> Iterator[str]:
    from tui_tuner.config.chat_templates import CHAT_TEMPLATES
    from tui_tuner.config.options import list_options

    option = list_options().get(path)
    if option is None:
        return
    if path == "model.chat_template":
        yield from CHAT_TEMPLATES
    yield from option.choices
    yield from ("true", "false") if bool in option.kinds else ()
    if option.optional:
        yield "null"


def offer_formats(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.config.kinds.formats import RECORD_FORMATS
    from tui_tuner.locales import _

    for name, words in RECORD_FORMATS.items():
        yield Word(name, _(words))


def offer_methods(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.config.kinds.methods import METHODS
    from tui_tuner.locales import _

    for name, kind in METHODS.items():
        yield Word(name, _(kind.help))


def offer_states(_context: Any, _incomplete: str) -> Iterator[Word]:
    from tui_tuner.cli.history_commands import STATES

    yield from map(Word, STATES)


def offer_shells(_context: Any, _incomplete: str) -> Iterator[Word]:
    yield from map(Word, SHELLS)


BY_METAVAR: dict[str, Offer] = {
    "CONFIG": offer_configs,
    "RUN": offer_runs,
    "RUN...": offer_runs,
    "FIELD=VALUE": offer_settings,
    "FORMAT": offer_formats,
    "KIND": offer_methods,
    "STATE": offer_states,
    "SHELL": offer_shells,
}
BY_PLACE: dict[tuple[str, str], Offer] = {
    ("presets show", "name"): offer_presets,
    ("ask", "checkpoint"): offer_checkpoints,
    ("chat", "checkpoint"): offer_checkpoints,
    ("predict", "checkpoint"): offer_checkpoints,
}
