"""Turn failures of a hub into errors: what happened, where, and what to do next. Never shows a token."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from tui_tuner.config.advice import Command, build_hint, join_hints
from tui_tuner.errors import DiskFullError, HubError, ModelError, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS
from tui_tuner.models.hub.net import get_http_library, read_retry_after
from tui_tuner.models.hub.stored_tokens import find_token, is_token
from tui_tuner.text import format_bytes, format_seconds, one_line

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_GOES_ON = N_("The downloaded part is kept: fetch it again to resume from there.")
_LIST = Command("`tui-tuner models list`", N_("the models screen"))


def explain_error(
    error: BaseException,
    name: str,
    source: str,
    endpoint: str,
    revision: str | None = None,
    fetching: bool = False,
) -> TunerError:
    """Convert an exception of a hub's client to the error that a user reads.

    Args:
        fetching: Files were being downloaded, so there may be a part to resume from.
    """
    if isinstance(error, TunerError):
        return error
    where, hub = one_line(name), LABELS.get(source, source)
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    again = _(_GOES_ON) if fetching else _("Try again in a while.")
    # These mean a header that cannot be sent, and the token is the only part of it that users provide.
    if isinstance(error, (UnicodeError, get_http_library().LocalProtocolError)):
        token, origin = find_token(source)
        if token and not is_token(token):
            return make_no_token_error(origin)
    if kind == "HFValidationError":
        hint = _("Give a folder that holds config.json, or a hub id such as Qwen/Qwen3-0.6B.")
        return ModelError(_("is neither a folder here nor a hub id."), where=where, hint=hint)
    if kind == "OfflineModeIsEnabled":
        return make_offline_error(where)
    if kind in ("GatedRepoError", "DisabledRepoError"):
        return make_gated_model_error(name, source, endpoint, disabled=kind == "DisabledRepoError")
    if kind == "RevisionNotFoundError":
        return make_no_revision_error(name, revision)
    if status is not None:
        return _explain_status(error, int(status), where, source, endpoint, again)
    if isinstance(error, json.JSONDecodeError):
        return make_not_hub_error(where, endpoint)
    # After the HTTP errors, some of which are OSErrors without an errno.
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return make_disk_full_error(Path(error.filename or "."), error)
    return _explain_network(error, where, hub, endpoint, again)


def _explain_status(
    error: BaseException, status: int, where: str, source: str, endpoint: str, again: str
) -> TunerError:
    """Convert an HTTP status of the hub to an error."""
    hub, kind = LABELS.get(source, source), type(error).__name__
    if kind == "RepositoryNotFoundError" or (status == 404 and kind != "RemoteEntryNotFoundError"):
        return make_unknown_model_error(where, source, [])
    if status == 404:
        return HubError(
            _("the hub lists a file but does not have it."), where=where, hint=_("Try another revision.")
        )
    # A mirror may answer 401 for models that are private and for models that do not exist.
    if status == 401:
        return (
            make_wrong_token_error(where, source)
            if find_token(source)[0]
            else make_unknown_model_error(where, source, [])
        )
    if status == 403:
        return HubError(
            _("{hub} refused access (403 forbidden): this token may not read the model.", hub=hub),
            where=where,
            hint=build_hint(
                N_(
                    "Give the token permission to read this model, or log in with another token: {command}.",
                    command=format_login_command(source),
                )
            ),
        )
    if status == 429:
        wait = read_retry_after(error.response.headers)  # type: ignore[attr-defined]
        what = (
            _(
                "{hub} reports too many requests (429) and asks to wait {time}.",
                hub=hub,
                time=format_seconds(wait),
            )
            if wait
            else _("{hub} reports too many requests (429).", hub=hub)
        )
        return HubError(
            what,
            where=where,
            hint=_("Wait and try again; the limit is higher for accounts that are logged in."),
        )
    if status >= 500:
        return HubError(
            _(
                "{hub} has an internal problem (error {status} at {endpoint}).",
                hub=hub,
                status=status,
                endpoint=endpoint,
            ),
            where=where,
            hint=again,
        )
    return HubError(
        _("{hub} refused the request (error {status}).", hub=hub, status=status),
        where=where,
        hint=_("Try another revision."),
    )


def _explain_network(error: BaseException, where: str, hub: str, endpoint: str, again: str) -> TunerError:
    """Convert a failed or broken connection, or an unexpected exception, to an error."""
    text = one_line(error, 200) or type(error).__name__
    http = get_http_library()
    # A ProxyError is a TransportError too, so it is asked about first.
    if isinstance(error, http.ProxyError):
        return HubError(
            _("the proxy refused the connection: {error}.", error=text),
            where=where,
            hint=_("Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment."),
        )
    # httpx has no class for failed certificates, only this text.
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return HubError(
            _("no secure connection to {endpoint}: {error}.", endpoint=endpoint, error=text),
            where=where,
            hint=_("Behind a proxy with its own certificate, set SSL_CERT_FILE to that certificate."),
        )
    if isinstance(error, (http.TransportError, ConnectionError, TimeoutError)):
        return make_unreachable_error(where, endpoint, text)
    return HubError(_("{hub} cannot be used: {error}.", hub=hub, error=text), where=where, hint=again)


def make_offline_error(where: str = "") -> HubError:
    """Make the error for a hub that the environment forbids to use."""
    return HubError(
        _("the hub is not used because HF_HUB_OFFLINE is set."),
        where=where,
        hint=build_hint(N_("Unset it, or use a model on this machine: {command}.", command=_LIST)),
    )


def make_unreachable_error(where: str, endpoint: str, why: str = "") -> HubError:
    """Make the error for a hub that does not answer."""
    what = (
        _("the hub at {endpoint} cannot be reached: {error}.", endpoint=endpoint, error=why.rstrip("."))
        if why
        else _("the hub at {endpoint} cannot be reached.", endpoint=endpoint)
    )
    # A forgotten proxy variable is easy to overlook, and no error text mentions it.
    proxies = [name for name in _PROXIES if os.environ.get(name)]
    if proxies:
        hint = _("Requests go through a proxy because {names} is set: check it.", names=", ".join(proxies))
    else:
        hint = _("Check the connection, or set HF_ENDPOINT to a mirror.")
    here = build_hint(N_("See the models on this machine: {command}.", command=_LIST))
    return HubError(what, where=where, hint=join_hints(hint, here))


def make_not_hub_error(where: str, endpoint: str) -> HubError:
    """Make the error for a server that answers with a web page instead of data."""
    return HubError(
        _("{endpoint} does not answer like a hub: it may have sent a web page.", endpoint=endpoint),
        where=where,
        hint=_(
            "The network may need a login in the browser first, or HF_ENDPOINT is not the address of a hub."
        ),
    )


def make_unknown_model_error(name: str, source: str, nearest: list[str]) -> HubError:
    """Make the error for a model that the hub does not have, or does not show to this user."""
    if nearest:
        names = ", ".join(one_line(near, 80) for near in nearest)
        hint = build_hint(
            N_(
                "Did you mean {names}? A private model needs a login: {command}.",
                names=names,
                command=format_login_command(source),
            )
        )
    else:
        hint = build_hint(
            N_(
                "Check the spelling. A private model needs a login: {command}.",
                command=format_login_command(source),
            )
        )
    return HubError(_("is not on {hub}.", hub=LABELS.get(source, source)), where=one_line(name), hint=hint)


def make_gated_model_error(name: str, source: str, endpoint: str, disabled: bool = False) -> HubError:
    """Make the error for a gated model, or one that the hub has disabled."""
    if disabled:
        return HubError(_("the hub has disabled access to it."), where=one_line(name))
    return HubError(
        _("is gated: its owner approves each account."),
        where=one_line(name),
        hint=build_hint(
            N_(
                "Open {page}, accept the terms, then log in: {command}.",
                page=f"{endpoint}/{one_line(name)}",
                command=format_login_command(source),
            )
        ),
    )


def make_no_revision_error(name: str, revision: str | None) -> HubError:
    return HubError(
        _("has no revision {revision}.", revision=one_line(revision or "", 80)),
        where=one_line(name),
        hint=_("Give a branch, a tag or a commit of the model, or leave it empty for the newest."),
        field="model.revision",
    )


def make_wrong_token_error(where: str, source: str) -> HubError:
    return HubError(
        _("{hub} does not know this token (401).", hub=LABELS.get(source, source)),
        where=where,
        hint=build_hint(
            N_(
                "Create a new one on the hub's token page and log in with it: {command}. A token in the "
                "environment (HF_TOKEN, MODELSCOPE_API_TOKEN) takes precedence.",
                command=format_login_command(source),
            )
        ),
    )


def make_no_token_error(where: str = "") -> HubError:
    """Make the error for a text that cannot be a token."""
    return HubError(
        _("this is not a token: a token is a single word of letters and digits."),
        where=where,
        hint=_("Copy it from the hub's token page."),
    )


def make_no_weights_error(name: str, pickled: bool) -> ModelError:
    """Make the error for a model without safetensors weights."""
    what = (
        _("has its weights only as Python pickles, which can run code: they are not fetched.")
        if pickled
        else _("has no safetensors weights that transformers can load.")
    )
    return ModelError(
        what,
        where=one_line(name),
        hint=build_hint(
            N_(
                "Look for another copy of it with {command}, or convert it: "
                "https://huggingface.co/spaces/safetensors/convert",
                command=Command("`tui-tuner models search`", N_("the search of the models screen")),
            )
        ),
    )


def make_little_room_error(name: str, needed: int, free: int, folder: Path, variable: str) -> DiskFullError:
    """Make the error for a download that does not fit on the disk, before it starts.

    Args:
        needed: Bytes to download plus the margin.
        variable: The environment variable for another cache folder of this hub.
    """
    return DiskFullError(
        _(
            "fetching it needs {needed} more, but only {free} are free in {folder}.",
            needed=format_bytes(needed),
            free=format_bytes(free),
            folder=one_line(folder),
        ),
        where=one_line(name),
        hint=build_hint(
            N_(
                "Free some space, or set {variable} to a folder on a larger disk. See how much space other "
                "models take: {command}.",
                variable=variable,
                command=_LIST,
            )
        ),
    )


def make_disk_full_error(path: Path, error: OSError) -> DiskFullError:
    """Make the error for a disk that became full while a file was written."""
    return DiskFullError(
        _("the disk is full: {problem}.", problem=error.strerror or one_line(error)),
        where=one_line(path),
        hint=_("Free some space. {again}", again=_(_GOES_ON)),
    )


def format_login_command(source: str = HUGGINGFACE) -> Command:
    more = "" if source == HUGGINGFACE else f" --source {source}"
    return Command(f"`tui-tuner models login{more}`", N_("l on the models screen"))
