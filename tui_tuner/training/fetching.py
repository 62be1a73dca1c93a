"""A run brings the model that it needs onto this machine before anything else that takes long."""

from __future__ import annotations

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError, about
from tui_tuner.locales import _
from tui_tuner.models.hub import place
from tui_tuner.models.hub.clients import client_of
from tui_tuner.models.hub.fetching import fetch
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS, Cancelled, Progress
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.net import answers, is_offline
from tui_tuner.text import human_bytes, one_line
from tui_tuner.training.commands import Commands
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.reporting import Reporter

PHASE = "fetching"


def fetch_model(model: ModelSection, reporter: Reporter, commands: Commands, ranks: Ranks) -> None:
    """Fetch what is missing of the model and its tokenizer, with a phase that counts bytes.

    What is here whole is used where the hub cannot be asked.

    Raises:
        Stopped: a stop was asked for; what was fetched stays.
        HubError, ModelError, DiskFullError: as `models.hub.api.fetch` does.
    """
    failed: TunerError | None = None
    if ranks.main:
        try:
            for field, name, revision, weights in _needed(model):
                with about(field):
                    _bring(name, revision, model.hub, weights, reporter, commands)
        except TunerError as error:
            failed = error
    failed = ranks.broadcast(failed)  # the others wait for the files, and end as the main one does
    if failed is not None:
        raise failed
    commands.check()
    if model.hub == HUGGINGFACE and not model.trust_remote_code:  # code may come from yet another model
        for _field, name, revision, _weights in _needed(model):
            place.settle(name, revision)


def _needed(model: ModelSection) -> list[tuple[str, str, str | None, bool]]:
    """Field, id, revision and whether weights are needed, of what comes from a hub."""
    needed = []
    own_tokenizer = model.tokenizer in (None, "train")
    if not place.is_path(model.name) and (model.architecture is None or model.tokenizer is None):
        needed.append(("model.name", model.name, model.revision, model.architecture is None))
    if not own_tokenizer and not place.is_path(str(model.tokenizer)):
        needed.append(("model.tokenizer", str(model.tokenizer), None, False))
    return needed


class _Said:
    """Tells the journal how far a fetch is; nothing where all of it was here already."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name, self._reporter = name, reporter
        self.start, self.total = -1, 0  # bytes that lay here at the start; of all

    def __call__(self, at: Progress) -> None:
        if not at.total:
            return
        if self.start < 0:
            self.start = at.done
        self.total = at.total
        if self.start < at.total:
            note = f"{self._name}, {at.note}" if at.note else self._name
            self._reporter.phase(PHASE, at.done, at.total, note=note, unit="bytes")


def _bring(
    name: str, revision: str | None, hub: str, weights: bool, reporter: Reporter, commands: Commands
) -> None:
    endpoint = client_of(hub).endpoint()
    here = find(name, revision, hub, weights) is not None
    if here and (is_offline() or not answers(endpoint)):
        return
    shown, said = one_line(name), _Said(one_line(name), reporter)
    try:
        fetch(name, revision, hub, said, commands.stop_wanted, weights)
    except Cancelled:
        return  # `check` says so
    except TunerError as error:
        if not here:
            raise
        reporter.log(
            _(
                "The hub could not be asked ({problem}): the model of this machine is taken.",
                problem=one_line(error.what),
            )
        )
        return
    if 0 <= said.start < said.total:
        size = human_bytes(said.total - said.start)
        reporter.log(_("Fetched {name} from {hub}: {size}.", name=shown, hub=LABELS[hub], size=size))
