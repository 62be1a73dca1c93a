"""A message on its way: to ntfy, to a webhook, to this desktop. No error holds an address."""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.header import Header
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from tui_tuner.config.notices import filled, shown_entry
from tui_tuner.locales import _
from tui_tuner.notifying.desktop import show_on_desktop
from tui_tuner.notifying.message import Message, NotSent

SECONDS = 5.0  # for a connection, and for each piece of an answer
WAITS = (1.0, 3.0)  # seconds before the second and the third attempt
BUSY = (408, 425, 429, 500, 502, 503, 504)  # worth another attempt
MOST_REDIRECTS = 3
MOST_TEXT = 3500  # bytes: ntfy makes a file of what is longer than 4,096
NTFY = "https://ntfy.sh"
NTFY_SERVER, NTFY_TOKEN = "NTFY_SERVER", "NTFY_TOKEN"
# What belongs to other services: a config by somebody else must not send it anywhere
_FOREIGN: tuple[str, ...] = ("HF_", "HUGGING", "MODELSCOPE", "AWS_", "AZURE_", "GOOGLE_", "OPENAI")
_FOREIGN += (
    "ANTHROPIC",
    "WANDB",
    "GITHUB",
    "GH_",
    "GITLAB",
    "KAGGLE",
    "SSH_",
    "COMET",
    "DATABRICKS",
    "NPM_",
    "PYPI",
)


def send(entry: str, message: Message, wait: Callable[[float], bool] = lambda _seconds: False) -> None:
    """Send a message to one entry of `output.notify` other than the bell.

    Args:
        wait: Waits so many seconds; True where there is no time for another attempt.

    Raises:
        NotSent: it did not get there.
    """
    for pause in (*WAITS, None):
        try:
            _send_once(entry, message)
            return
        except NotSent as error:
            if not error.again or pause is None or wait(pause):
                raise


def _send_once(entry: str, message: Message) -> None:
    foreign = [name for name in _names(entry) if name.upper().startswith(_FOREIGN)]
    if foreign:
        raise NotSent(_("{name} belongs to another service, and is not sent anywhere", name=foreign[0]))
    place, missing = filled(entry, os.environ)
    if missing:
        raise NotSent(_("{name} is not set in the environment", name=", ".join(missing)))
    if place == "desktop":
        show_on_desktop(message)
    elif place.startswith("ntfy:"):
        _post(*_for_ntfy(place.removeprefix("ntfy:"), message))
    elif place.startswith(("http://", "https://")):
        _post(place, _for_webhook(message), {"Content-Type": "application/json"})
    elif place != "bell":
        raise NotSent(_("what its variable holds is no address"))


def _names(entry: str) -> list[str]:
    return filled(entry, {})[1]


def name_of(entry: str) -> str:
    """An entry as it is named where it failed."""
    return shown_entry(entry)


def _for_webhook(message: Message) -> bytes:
    """JSON that chats show as it is (`text` for Slack, `content` for Discord), and fields for programs."""
    body = {"title": message.title, "text": message.whole, "content": message.whole[:1900], **message.fields}
    return json.dumps(body, ensure_ascii=False, allow_nan=False, default=str).encode()


def _for_ntfy(place: str, message: Message) -> tuple[str, bytes, dict[str, str]]:
    """Address, body and headers of a message to a topic."""
    server = os.environ.get(NTFY_SERVER, "").strip() or NTFY
    address = place if "://" in place else f"{server.rstrip('/')}/{place}"
    headers = {
        "Title": Header(message.title, "utf-8", maxlinelen=10_000).encode()
        if not message.title.isascii()
        else message.title,
        "Priority": "high" if message.bad else "default",
        "Tags": "warning" if message.bad else "white_check_mark",
        "Content-Type": "text/plain; charset=utf-8",
    }
    token = os.environ.get(NTFY_TOKEN, "").strip()
    if token and _may_have_token(address, server):
        headers["Authorization"] = f"Bearer {token}"
    return address, message.text.encode()[:MOST_TEXT].decode("utf-8", "ignore").encode(), headers


def _may_have_token(address: str, server: str) -> bool:
    """Whether an address is on the server that the token is for: a config may be by somebody else."""
    try:
        asked, own = urlsplit(address), urlsplit(server)
        same = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
    except ValueError:
        return False
    return same or asked.hostname in ("localhost", "127.0.0.1", "::1")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A redirect is followed with the same message; never to another scheme, but from http to https."""

    max_redirections = MOST_REDIRECTS
    max_repeats = 1

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != old.scheme and (old.scheme, new.scheme) != ("http", "https"):
            raise NotSent(_("it leads on to an address that is not followed"))
        kept = dict(req.header_items())
        if new.netloc != old.netloc:
            kept.pop("Authorization", None)
        if code == 303:
            return None
        return urllib.request.Request(newurl, req.data, kept, method="POST")

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _post(address: str, body: bytes, headers: Mapping[str, str]) -> None:
    """One attempt.

    Raises:
        NotSent: no answer, or one that says no.
    """
    try:
        address, own = _without_login(address)
        request = urllib.request.Request(
            address, body, {"User-Agent": "tui-tuner", **own, **headers}, method="POST"
        )
        with urllib.request.build_opener(_Redirects).open(request, timeout=SECONDS) as answer:
            answer.read(1 << 16)
    except NotSent:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 303:
            return
        if 300 <= error.code < 400:  # to a file, or round and round
            raise NotSent(_("it leads on to an address that is not followed")) from None
        again = error.code in BUSY
        raise NotSent(_("the server answered with status {status}", status=error.code), again) from None
    except TimeoutError:
        raise NotSent(_("the server does not answer"), again=True) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise NotSent(_("the server does not answer"), again=True) from None
        raise NotSent(_("the server cannot be reached"), again=True) from None
    except (OSError, http.client.HTTPException):
        raise NotSent(_("the connection broke"), again=True) from None
    except (ValueError, UnicodeError):
        raise NotSent(_("it is no address that a message can be sent to")) from None


def _without_login(address: str) -> tuple[str, dict[str, str]]:
    """An address without the name and password in it, which become a header."""
    parts = urlsplit(address)
    if parts.username is None:
        return address, {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=place)), {
        "Authorization": f"Basic {base64.b64encode(login).decode()}"
    }


def pause(done: Callable[[], bool], deadline: Callable[[], float]) -> Callable[[float], bool]:
    """A `wait` for `send` that gives up where the time is over."""

    def wait(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if done() and time.monotonic() > deadline():
                return True
            time.sleep(0.05)
        return False

    return wait
