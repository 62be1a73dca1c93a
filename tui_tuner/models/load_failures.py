"""Turn exceptions of transformers and the hub's client into errors with a hint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tui_tuner.config.advice import build_hint
from tui_tuner.errors import HardwareError, HubError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.hub_errors import format_login_command
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

# Messages for a missing package, and for any other failure
TOKENIZER = N_("the tokenizer needs a package: {error}"), N_("the tokenizer cannot be loaded: {error}")
MODEL = N_("the model needs a package: {error}"), N_("the model cannot be loaded: {error}")
ARCHITECTURE = (
    N_("the architecture needs a package: {error}"),
    N_("the architecture cannot be loaded: {error}"),
)


@contextlib.contextmanager
def explain_failures(source: str, needs: str, fails: str) -> Iterator[None]:
    """Turn exceptions of transformers and the hub client into errors with a hint."""
    shown = one_line(source)
    try:
        yield
    except (ModelError, HubError, HardwareError):
        raise
    except ImportError as error:
        # An ImportError here means a package of the model or tokenizer (sentencepiece, tiktoken), not one of
        # ours.
        raise ModelError(_(needs, error=one_line(error, 300)), where=shown) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if not os.path.isdir(source):
            _raise_hub(error, shown)
        raise ModelError(_(fails, error=one_line(error, 300)), where=shown) from error
    except BaseException as error:
        # A panic in a Rust library (tokenizers, safetensors) is a BaseException without a public class.
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(_(fails, error=one_line(error, 300)), where=shown) from error


def _raise_hub(error: BaseException, shown: str) -> None:
    """Raise `HubError` or `ModelError` if a hub appears in the chain of causes."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    # By name, as these classes moved between releases of the clients; transformers also wraps them in
    # OSError.
    names = {kind.__name__ for item in chain for kind in type(item).__mro__}
    if "GatedRepoError" in names:
        hint: str = build_hint(
            N_("Accept its terms on the hub's page, then log in: {command}.", command=format_login_command())
        )
        raise HubError(
            _("this model is gated: the hub gives it to approved accounts only."), where=shown, hint=hint
        ) from error
    if "RevisionNotFoundError" in names:
        raise HubError(_("the hub has no such revision of this model."), where=shown) from error
    if "RepositoryNotFoundError" in names:
        hint = build_hint(
            N_(
                "Check the spelling. A private model needs a login: {command}.",
                command=format_login_command(),
            )
        )
        raise HubError(
            _("the hub has no such model, or you have no access to it."), where=shown, hint=hint
        ) from error
    if "HFValidationError" in names:
        hint = _("A hub id looks like Qwen/Qwen3-0.6B; write a folder as ./name.")
        raise ModelError(_("is neither a folder nor a hub id."), where=shown, hint=hint) from error
    offline = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "TimeoutException"}
    offline |= {"ConnectionError", "HfHubHTTPError", "HTTPError", "NetworkError", "ProxyError"}
    if names & offline or any("couldn't connect" in str(item).lower() for item in chain):
        hint = _("Check the network (or HF_HUB_OFFLINE, HF_ENDPOINT), or give a folder that holds the model.")
        raise HubError(
            _("the hub cannot be reached, and this model is not on this machine."), where=shown, hint=hint
        )
