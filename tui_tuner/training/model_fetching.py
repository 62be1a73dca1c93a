"""Fetch the model that a run needs from its hub, before anything else that takes long."""

from __future__ import annotations

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError, name_error_field
from tui_tuner.locales import _
from tui_tuner.models.hub import place
from tui_tuner.models.hub.clients import find_hub_client
from tui_tuner.models.hub.fetching import download_model
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS, FetchCancelled, Progress
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.net import is_hub_answering, is_network_offline
from tui_tuner.text import format_bytes, one_line
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.run_commands import Commands
from tui_tuner.training.watching.reporting import Reporter

PHASE = "fetching"


def fetch_run_model(model: ModelSection, reporter: Reporter, commands: Commands, ranks: Ranks) -> None:
    """Fetch the missing files of the model and its tokenizer, with a phase that counts bytes.

    A complete local copy is used if the hub cannot be reached.

    Raises:
        StopRequested: a stop was requested; the files fetched so far stay.
        HubError, ModelError, DiskFullError: as `models.hub.api.fetch_hub_model` does.
    """
    failed: TunerError | None = None
    if ranks.is_main:
        try:
            for field, name, revision, weights in _find_needed(model):
                with name_error_field(field):
                    _bring_files(name, revision, model.hub, weights, reporter, commands)
        except TunerError as error:
            failed = error
    # The other ranks wait here for the files, and fail with the main one.
    failed = ranks.broadcast_object(failed)
    if failed is not None:
        raise failed
    commands.check_stop()
    # Code may come from yet another model, which has not been fetched: then the hub must still be asked.
    if model.hub == HUGGINGFACE and not model.trust_remote_code:
        for _field, name, revision, _weights in _find_needed(model):
            place.mark_model_settled(name, revision)


def _find_needed(model: ModelSection) -> list[tuple[str, str, str | None, bool]]:
    """List what comes from a hub: the field, the id, the revision, and whether weights are needed."""
    needed = []
    own_tokenizer = model.tokenizer in (None, "train")
    # A new architecture has random weights; its `name` may still be where the tokenizer comes from.
    if not place.is_model_path(model.name) and (model.architecture is None or model.tokenizer is None):
        needed.append(("model.name", model.name, model.revision, model.architecture is None))
    if not own_tokenizer and not place.is_model_path(str(model.tokenizer)):
        needed.append(("model.tokenizer", str(model.tokenizer), None, False))
    return needed


class _FetchReport:
    """Reports the progress of a fetch; nothing if all files were on this machine already."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name, self._reporter = name, reporter
        self.start, self.total = -1, 0  # bytes on this machine at the start (-1: unknown), and of all files

    def __call__(self, at: Progress) -> None:
        if not at.total:
            return
        if self.start < 0:
            self.start = at.done
        self.total = at.total
        if self.start < at.total:
            note = f"{self._name}, {at.note}" if at.note else self._name
            self._reporter.report_phase(PHASE, at.done, at.total, note=note, unit="bytes")


def _bring_files(
    name: str, revision: str | None, hub: str, weights: bool, reporter: Reporter, commands: Commands
) -> None:
    endpoint = find_hub_client(hub).hub_address()
    here = find_complete_model(name, revision, hub, weights) is not None
    # Asked with one quick request: the client's retries would delay a run that has all it needs.
    if here and (is_network_offline() or not is_hub_answering(endpoint)):
        return
    shown, said = one_line(name), _FetchReport(one_line(name), reporter)
    try:
        download_model(name, revision, hub, said, commands.stop_wanted, weights)
    except FetchCancelled:
        return  # the caller's `check_stop` then stops all ranks
    except TunerError as error:
        if not here:
            raise
        reporter.report_log(
            _(
                "The hub could not be reached ({problem}); the copy on this machine is used.",
                problem=one_line(error.what),
            )
        )
        return
    if 0 <= said.start < said.total:
        size = format_bytes(said.total - said.start)
        reporter.report_log(_("Fetched {name} from {hub}: {size}.", name=shown, hub=LABELS[hub], size=size))
