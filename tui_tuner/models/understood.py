"""What transformers and the hub's client raise, as errors that say what to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tui_tuner.config.advice import advise
from tui_tuner.errors import HardwareError, HubError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.problems import log_in
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

# What is said where a package is missing, and where something else is wrong
TOKENIZER = N_("the tokenizer needs a package: {error}"), N_("the tokenizer cannot be loaded: {error}")
MODEL = N_("the model needs a package: {error}"), N_("the model cannot be loaded: {error}")
ARCHITECTURE = (
    N_("the architecture needs a package: {error}"),
    N_("the architecture cannot be loaded: {error}"),
)


@contextlib.contextmanager
def understood(source: str, needs: str, fails: str) -> Iterator[None]:
    """Turn what transformers and the hub client raise into an error that says what to do."""
    shown = one_line(source)
    try:
        yield
    except (ModelError, HubError, HardwareError):
        raise
    except ImportError as error:
        raise ModelError(_(needs, error=one_line(error, 300)), where=shown) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if not os.path.isdir(source):
            _raise_hub(error, shown)
        raise ModelError(_(fails, error=one_line(error, 300)), where=shown) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of libraries in Rust, which is no Exception
            raise
        raise ModelError(_(fails, error=one_line(error, 300)), where=shown) from error


def _raise_hub(error: BaseException, shown: str) -> None:
    """Raise `HubError` if the chain of causes speaks of a hub."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    names = {kind.__name__ for item in chain for kind in type(item).__mro__}
    if "GatedRepoError" in names:
        hint: str = advise(
            N_("Accept its terms on the hub's page, then log in: {command}.", command=log_in())
        )
        raise HubError(
            _("the hub gives this model only to approved accounts."), where=shown, hint=hint
        ) from error
    if "RevisionNotFoundError" in names:
        raise HubError(_("the hub has no such revision of this model."), where=shown) from error
    if "RepositoryNotFoundError" in names:
        hint = advise(N_("Check the spelling; a private one needs a login: {command}.", command=log_in()))
        raise HubError(
            _("the hub has no such model, or hides it from you."), where=shown, hint=hint
        ) from error
    if "HFValidationError" in names:
        hint = _("A hub id looks like Qwen/Qwen3-0.6B; a folder may be written ./name.")
        raise ModelError(_("is neither a folder nor a hub id."), where=shown, hint=hint) from error
    offline = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "TimeoutException"}
    offline |= {"ConnectionError", "HfHubHTTPError", "HTTPError", "NetworkError", "ProxyError"}
    if names & offline or any("couldn't connect" in str(item).lower() for item in chain):
        hint = _("Check the network (or HF_HUB_OFFLINE, HF_ENDPOINT), or give a folder that holds the model.")
        raise HubError(
            _("the hub cannot be reached, and this model is not on this machine."), where=shown, hint=hint
        )
