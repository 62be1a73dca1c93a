"""What goes wrong with a hub, in words: what happened, where, and what to do next. Never a token."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from tui_tuner.config.advice import Command, advise, hints
from tui_tuner.errors import DiskFullError, HubError, ModelError, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS
from tui_tuner.models.hub.net import library, retry_after
from tui_tuner.models.hub.stored import find_token, is_token
from tui_tuner.text import human_bytes, human_seconds, one_line

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_GOES_ON = N_("What was fetched stays: fetching it again goes on from there.")
_LIST = Command("`tui-tuner models list`", N_("the models screen"))


def in_words(
    error: BaseException,
    name: str,
    source: str,
    endpoint: str,
    revision: str | None = None,
    fetching: bool = False,
) -> TunerError:
    """The error that a user reads, of whatever a client of a hub raised.

    Args:
        fetching: Files were being fetched, so there may be some to go on from.
    """
    if isinstance(error, TunerError):
        return error
    where, hub = one_line(name), LABELS.get(source, source)
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    again = _(_GOES_ON) if fetching else _("Try again in a while.")
    if isinstance(error, (UnicodeError, library().LocalProtocolError)):  # a header that cannot be sent
        token, origin = find_token(source)
        if token and not is_token(token):
            return no_token(origin)
    if kind == "HFValidationError":
        hint = _("Give a folder that holds config.json, or a hub id such as Qwen/Qwen3-0.6B.")
        return ModelError(_("is neither a folder here nor a hub id."), where=where, hint=hint)
    if kind == "OfflineModeIsEnabled":
        return offline(where)
    if kind in ("GatedRepoError", "DisabledRepoError"):
        return gated(name, source, endpoint, disabled=kind == "DisabledRepoError")
    if kind == "RevisionNotFoundError":
        return no_revision(name, revision)
    if status is not None:
        return _of_status(error, int(status), where, source, endpoint, again)
    if isinstance(error, json.JSONDecodeError):
        return not_a_hub(where, endpoint)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return no_room_left(Path(error.filename or "."), error)
    return _of_network(error, where, hub, endpoint, again)


def _of_status(
    error: BaseException, status: int, where: str, source: str, endpoint: str, again: str
) -> TunerError:
    """An answer of the hub that refuses."""
    hub, kind = LABELS.get(source, source), type(error).__name__
    if kind == "RepositoryNotFoundError" or (status == 404 and kind != "RemoteEntryNotFoundError"):
        return unknown(where, source, [])
    if status == 404:
        return HubError(
            _("the hub lists a file that it does not have."), where=where, hint=_("Try another revision.")
        )
    if status == 401:  # a mirror may say no more of what is private or not there
        return wrong_token(where, source) if find_token(source)[0] else unknown(where, source, [])
    if status == 403:
        return HubError(
            _("{hub} refuses (403 forbidden): this token may not read it.", hub=hub),
            where=where,
            hint=advise(
                N_(
                    "Give the token the right to read this model, or log in with another one: {command}.",
                    command=log_in(source),
                )
            ),
        )
    if status == 429:
        wait = retry_after(error.response.headers)  # type: ignore[attr-defined]
        what = (
            _(
                "{hub} has had too many requests (429), and asks to wait {time}.",
                hub=hub,
                time=human_seconds(wait),
            )
            if wait
            else _("{hub} has had too many requests (429).", hub=hub)
        )
        return HubError(
            what, where=where, hint=_("Wait and try again; those who are logged in may ask more often.")
        )
    if status >= 500:
        return HubError(
            _(
                "{hub} has trouble of its own (error {status} at {endpoint}).",
                hub=hub,
                status=status,
                endpoint=endpoint,
            ),
            where=where,
            hint=again,
        )
    return HubError(
        _("{hub} refuses (error {status}).", hub=hub, status=status),
        where=where,
        hint=_("Try another revision."),
    )


def _of_network(error: BaseException, where: str, hub: str, endpoint: str, again: str) -> TunerError:
    """A connection that failed or broke, or an error that nobody foresaw."""
    text = one_line(error, 200) or type(error).__name__
    http = library()
    if isinstance(error, http.ProxyError):
        return HubError(
            _("the proxy refuses: {error}.", error=text),
            where=where,
            hint=_("Look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment."),
        )
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return HubError(
            _("no safe connection to {endpoint}: {error}.", endpoint=endpoint, error=text),
            where=where,
            hint=_("Behind a proxy with a certificate of its own, name that in SSL_CERT_FILE."),
        )
    if isinstance(error, (http.TransportError, ConnectionError, TimeoutError)):
        return unreachable(where, endpoint, text)
    return HubError(_("{hub} cannot be used: {error}.", hub=hub, error=text), where=where, hint=again)


def offline(where: str = "") -> HubError:
    """A hub that the environment forbids to ask."""
    return HubError(
        _("the hub is not asked: HF_HUB_OFFLINE is set."),
        where=where,
        hint=advise(N_("Unset it, or take a model of this machine: {command}.", command=_LIST)),
    )


def unreachable(where: str, endpoint: str, why: str = "") -> HubError:
    """A hub that does not answer."""
    what = (
        _("the hub at {endpoint} cannot be reached: {error}.", endpoint=endpoint, error=why.rstrip("."))
        if why
        else _("the hub at {endpoint} cannot be reached.", endpoint=endpoint)
    )
    proxies = [name for name in _PROXIES if os.environ.get(name)]
    if proxies:
        hint = _("It is asked through a proxy, for {names} is set: check that.", names=", ".join(proxies))
    else:
        hint = _("Check the connection, or name a mirror in HF_ENDPOINT.")
    here = advise(N_("See what is on this machine: {command}.", command=_LIST))
    return HubError(what, where=where, hint=hints(hint, here))


def not_a_hub(where: str, endpoint: str) -> HubError:
    """A server that answers with a web page where the interface of a hub was asked."""
    return HubError(
        _("{endpoint} answers with something else than a hub does, such as a web page.", endpoint=endpoint),
        where=where,
        hint=_("A network may ask for a login in the browser first; or HF_ENDPOINT names no hub."),
    )


def unknown(name: str, source: str, nearest: list[str]) -> HubError:
    """A model that the hub does not have, or does not show to this user."""
    if nearest:
        names = ", ".join(one_line(near, 80) for near in nearest)
        hint = advise(
            N_(
                "Did you mean {names}? A private one needs a login: {command}.",
                names=names,
                command=log_in(source),
            )
        )
    else:
        hint = advise(
            N_("Check the spelling; a private one needs a login: {command}.", command=log_in(source))
        )
    return HubError(_("is not on {hub}.", hub=LABELS.get(source, source)), where=one_line(name), hint=hint)


def gated(name: str, source: str, endpoint: str, disabled: bool = False) -> HubError:
    """A model whose owner wants to know who asks."""
    if disabled:
        return HubError(_("access to it is disabled by the hub."), where=one_line(name))
    return HubError(
        _("is gated: its owner wants to know who asks."),
        where=one_line(name),
        hint=advise(
            N_(
                "Open {page}, accept the terms, then log in: {command}.",
                page=f"{endpoint}/{one_line(name)}",
                command=log_in(source),
            )
        ),
    )


def no_revision(name: str, revision: str | None) -> HubError:
    return HubError(
        _("has no revision {revision}.", revision=one_line(revision or "", 80)),
        where=one_line(name),
        hint=_("Give a branch, a tag or a commit of it, or leave it empty for the newest."),
        field="model.revision",
    )


def wrong_token(where: str, source: str) -> HubError:
    return HubError(
        _("{hub} does not know this token (401).", hub=LABELS.get(source, source)),
        where=where,
        hint=advise(
            N_(
                "Make a new one on the hub's page of tokens and log in with it: {command}. A token in the "
                "environment (HF_TOKEN, MODELSCOPE_API_TOKEN) goes first.",
                command=log_in(source),
            )
        ),
    )


def no_token(where: str = "") -> HubError:
    """What stands where a token is looked for, and cannot be one."""
    return HubError(
        _("this is no token: one is a single word of letters and digits."),
        where=where,
        hint=_("Copy it from the hub's page of tokens."),
    )


def no_weights(name: str, pickled: bool) -> ModelError:
    """A model without safetensors weights."""
    what = (
        _("has its weights as Python pickles alone, which can run code: they are not fetched.")
        if pickled
        else _("has no safetensors weights of a model for transformers.")
    )
    return ModelError(
        what,
        where=one_line(name),
        hint=advise(
            N_(
                "Look for another copy of it with {command}, or have it converted: "
                "https://huggingface.co/spaces/safetensors/convert",
                command=Command("`tui-tuner models search`", N_("the search of the models screen")),
            )
        ),
    )


def too_little_room(name: str, needed: int, free: int, folder: Path, variable: str) -> DiskFullError:
    """Refused before anything is fetched.

    Args:
        needed: Bytes with the margin.
        variable: What names another folder for models of this hub.
    """
    return DiskFullError(
        _(
            "fetching it takes {needed} more, and {free} are free in {folder}.",
            needed=human_bytes(needed),
            free=human_bytes(free),
            folder=one_line(folder),
        ),
        where=one_line(name),
        hint=advise(
            N_(
                "Make room, or set {variable} to a folder on a larger disk. See what other models take: "
                "{command}.",
                variable=variable,
                command=_LIST,
            )
        ),
    )


def no_room_left(path: Path, error: OSError) -> DiskFullError:
    """The disk became full, or a limit was reached, while a file was written."""
    return DiskFullError(
        _("the disk is full: {problem}.", problem=error.strerror or one_line(error)),
        where=one_line(path),
        hint=_("Make room. {again}", again=_(_GOES_ON)),
    )


def log_in(source: str = HUGGINGFACE) -> Command:
    more = "" if source == HUGGINGFACE else f" --source {source}"
    return Command(f"`tui-tuner models login{more}`", N_("l on the models screen"))
