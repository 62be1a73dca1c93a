"""Sends messages to ntfy, webhooks or this desktop. Errors never contain an address."""

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

from tui_tuner.config.notices import fill_notify_entry, mask_notify_entry
from tui_tuner.locales import _
from tui_tuner.notifying.desktop import show_on_desktop
from tui_tuner.notifying.run_messages import Message, NotSent

SECONDS = 5.0  # for a connection, and for each piece of an answer
WAITS = (1.0, 3.0)  # seconds before the second and the third attempt
BUSY = (408, 425, 429, 500, 502, 503, 504)  # worth another attempt
MOST_REDIRECTS = 3
MOST_TEXT = 3500  # bytes: ntfy turns text of more than 4,096 bytes into an attachment
NTFY = "https://ntfy.sh"
NTFY_SERVER, NTFY_TOKEN = "NTFY_SERVER", "NTFY_TOKEN"
# Secrets of other services: a config by somebody else must not send them anywhere
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


def send_message(
    entry: str, message: Message, wait: Callable[[float], bool] = lambda _seconds: False
) -> None:
    """Send a message to one entry of `output.notify` other than the bell.

    Args:
        wait: Waits so many seconds; returns True if there is no time for another attempt.

    Raises:
        NotSent: it was not delivered.
    """
    for pause in (*WAITS, None):
        try:
            _send_once(entry, message)
            return
        except NotSent as error:
            if not error.again or pause is None or wait(pause):
                raise


def _send_once(entry: str, message: Message) -> None:
    # ${HF_TOKEN} in somebody else's config would send the user's token to an address of their choice
    foreign = [name for name in _list_variables(entry) if name.upper().startswith(_FOREIGN)]
    if foreign:
        raise NotSent(_("{name} belongs to another service and must not be sent", name=foreign[0]))
    place, missing = fill_notify_entry(entry, os.environ)
    if missing:
        raise NotSent(_("{name} is not set in the environment", name=", ".join(missing)))
    if place == "desktop":
        show_on_desktop(message)
    elif place.startswith("ntfy:"):
        _post_once(*_format_for_ntfy(place.removeprefix("ntfy:"), message))
    elif place.startswith(("http://", "https://")):
        _post_once(place, _format_for_webhook(message), {"Content-Type": "application/json"})
    elif place != "bell":
        raise NotSent(_("its environment variable does not contain an address"))


def _list_variables(entry: str) -> list[str]:
    return fill_notify_entry(entry, {})[1]


def name_notice_entry(entry: str) -> str:
    """Return an entry in a form that may be shown, without secrets."""
    return mask_notify_entry(entry)


def _format_for_webhook(message: Message) -> bytes:
    """Build JSON that chats can show (`text` for Slack, `content` for Discord), with fields for programs."""
    # Discord refuses more than 2,000 characters
    body = {
        "title": message.title,
        "text": message.full_text,
        "content": message.full_text[:1900],
        **message.fields,
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False, default=str).encode()


def _format_for_ntfy(place: str, message: Message) -> tuple[str, bytes, dict[str, str]]:
    """Return (address, body, headers) of a message to an ntfy topic."""
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
    # Cutting bytes may split a character, which decoding with "ignore" drops
    return address, message.text.encode()[:MOST_TEXT].decode("utf-8", "ignore").encode(), headers


def _may_have_token(address: str, server: str) -> bool:
    """Return whether an address is on the token's own server, as the config may be by somebody else."""
    try:
        asked, own = urlsplit(address), urlsplit(server)
        same = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
    except ValueError:
        return False
    return same or asked.hostname in ("localhost", "127.0.0.1", "::1")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects with the same message, but to no other scheme except from http to https."""

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
            # Another server must not get the credentials
            kept.pop("Authorization", None)
        # The message has arrived, and the answer is elsewhere
        if code == 303:
            return None
        return urllib.request.Request(newurl, req.data, kept, method="POST")

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _post_once(address: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post a message once.

    Raises:
        NotSent: there was no answer, or an error.
    """
    try:
        address, own = _split_login(address)
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
        # A redirect to another kind of address, or in a loop
        if 300 <= error.code < 400:
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
        raise NotSent(_("it is not an address that messages can be sent to")) from None


def _split_login(address: str) -> tuple[str, dict[str, str]]:
    """Return an address without user name and password, which become a header."""
    parts = urlsplit(address)
    if parts.username is None:
        return address, {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=place)), {
        "Authorization": f"Basic {base64.b64encode(login).decode()}"
    }


def make_sending_waiter(done: Callable[[], bool], deadline: Callable[[], float]) -> Callable[[float], bool]:
    """Return a `wait` for `send_message` that gives up after the deadline."""

    def wait_or_give_up(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if done() and time.monotonic() > deadline():
                return True
            time.sleep(0.05)
        return False

    return wait_or_give_up
