"""Requests to a hub: one HTTP client, its exceptions, and whether a hub answers at all.

The client is the one that huggingface_hub brings along and has set up (httpx, or httpx2 in newer versions):
it honours HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

SECONDS = 10.0  # for one answer of a hub, and for one more piece of a file
CONNECT_SECONDS = 5.0
BUSY = (408, 429, 500, 502, 503, 504)  # worth asking again
LONGEST_WAIT = 120.0  # seconds a hub may ask us to wait; beyond that the user decides
ATTEMPTS = 3
Answer = TypeVar("Answer")


def session() -> Any:
    """The HTTP client."""
    from huggingface_hub.utils import get_session

    return get_session()


def library() -> Any:
    """The module of the HTTP client, which holds its exceptions."""
    return sys.modules[type(session()).__module__.partition(".")[0]]


def patience() -> Any:
    """How long the HTTP client waits: less for a connection than for an answer."""
    return library().Timeout(SECONDS, connect=CONNECT_SECONDS)


def network_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP client raises where a connection fails or breaks."""
    http = library()
    return (http.TransportError, ConnectionError, TimeoutError)


def is_offline() -> bool:
    """Whether the environment forbids to ask a hub (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def answers(endpoint: str) -> bool:
    """Whether a hub answers anything, by one quick question."""
    try:
        session().head(endpoint, timeout=CONNECT_SECONDS)
    except Exception:  # whatever the HTTP client raises, the hub was not reached
        return False
    return True


def asked(call: Callable[[], Answer], patient: bool = True) -> Answer:
    """What `call` returns, tried again a few times where a hub is busy or a connection breaks.

    A hub that does not answer at all is not asked again: that is told within seconds.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except Exception as error:
            wait = pause_after(error, attempt)
            lost = isinstance(error, (library().ConnectError, library().TimeoutException))
            if not patient or lost or attempt + 1 == ATTEMPTS or wait is None or wait > SECONDS:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


def small_json(url: str, headers: Mapping[str, str], most: int) -> dict[str, Any] | None:
    """A JSON object of a server, or None where it is not to be had, is something else or is too large."""
    told = {"headers": dict(headers), "timeout": patience(), "follow_redirects": True}
    try:
        with session().stream("GET", url, **told) as answer:
            if answer.status_code != 200:
                return None
            text = b""
            for piece in answer.iter_bytes():
                text += piece
                if len(text) > most:
                    return None
        value = json.loads(text)
    except Exception:  # whatever the HTTP client raises, and whatever is no JSON
        return None
    return value if isinstance(value, dict) else None


def pause_after(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None where asking again cannot help.

    `attempt`: how many came before. Pauses double from half a second to a quarter of a minute.
    """
    growing = min(0.5 * 2**attempt, 15.0)
    response = getattr(error, "response", None)
    if response is not None:
        if response.status_code not in BUSY:
            return None
        return max(growing, retry_after(response.headers) or 0.0)
    http = library()
    if isinstance(error, http.ConnectError) and _is_lasting(error):
        return None
    return growing if isinstance(error, (http.TransportError, ConnectionError, TimeoutError)) else None


def _is_lasting(error: BaseException) -> bool:
    """A certificate that is not trusted will not be in a second."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error).upper()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a busy hub wants us to wait, by `Retry-After` or the `t` of `RateLimit`; else None."""
    told = headers.get("retry-after")
    if told:
        try:
            return max(0.0, float(told))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
        except (TypeError, ValueError):
            return None
    for part in (headers.get("ratelimit") or "").split(";"):
        name, _unused, value = part.strip().partition("=")
        if name == "t" and value.isdecimal():
            return float(value)
    return None
