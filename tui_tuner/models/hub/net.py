"""Send requests to a hub: one HTTP client, its exceptions, and whether a hub answers at all.

This is the client that huggingface_hub installs and configures (httpx, or httpx2 in newer versions):
it honours HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

SECONDS = 10.0  # to wait for an answer of a hub, and for each further piece of a file
CONNECT_SECONDS = 5.0
BUSY = (408, 429, 500, 502, 503, 504)  # status codes worth another attempt
LONGEST_WAIT = 120.0  # seconds that a hub may ask to wait; beyond that the user decides
ATTEMPTS = 3
Answer = TypeVar("Answer")


def get_http_session() -> Any:
    """Return the HTTP client that huggingface_hub has configured."""
    from huggingface_hub.utils import get_session

    return get_session()


def get_http_library() -> Any:
    """Return the module of the HTTP client, which holds its exceptions."""
    # Found through the client in use, as importing httpx by name would miss httpx2.
    return sys.modules[type(get_http_session()).__module__.partition(".")[0]]


def make_request_timeouts() -> Any:
    """Return the timeouts of a request: shorter for a connection than for an answer."""
    return get_http_library().Timeout(SECONDS, connect=CONNECT_SECONDS)


def list_network_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that the HTTP client raises if a connection fails or breaks."""
    http = get_http_library()
    return (http.TransportError, ConnectionError, TimeoutError)


def is_network_offline() -> bool:
    """Return whether the environment forbids network access (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def is_hub_answering(endpoint: str) -> bool:
    """Return whether a hub answers one quick request."""
    try:
        get_http_session().head(endpoint, timeout=CONNECT_SECONDS)
    # The HTTP client has many errors, and each of them means that the hub was not reached.
    except Exception:
        return False
    return True


def call_with_retries(call: Callable[[], Answer], patient: bool = True) -> Answer:
    """Return the result of `call`, retried if a hub is busy or a connection breaks.

    A hub that does not answer at all is not retried, so that the error appears within seconds.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except Exception as error:
            wait = compute_retry_pause(error, attempt)
            lost = isinstance(error, (get_http_library().ConnectError, get_http_library().TimeoutException))
            if not patient or lost or attempt + 1 == ATTEMPTS or wait is None or wait > SECONDS:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


def read_small_json(url: str, headers: Mapping[str, str], most: int) -> dict[str, Any] | None:
    """Read a JSON object from a server; None if it is unavailable, something else, or too large."""
    told = {"headers": dict(headers), "timeout": make_request_timeouts(), "follow_redirects": True}
    try:
        with get_http_session().stream("GET", url, **told) as answer:
            if answer.status_code != 200:
                return None
            # Read in pieces: a declared length may be missing or wrong.
            text = b""
            for piece in answer.iter_bytes():
                text += piece
                if len(text) > most:
                    return None
        value = json.loads(text)
    # Any network error, and any answer that is not JSON.
    except Exception:
        return None
    return value if isinstance(value, dict) else None


def compute_retry_pause(error: BaseException, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if another attempt cannot help.

    `attempt` counts the earlier attempts. Pauses double from 0.5 s to 15 s.
    """
    growing = min(0.5 * 2**attempt, 15.0)
    response = getattr(error, "response", None)
    if response is not None:
        if response.status_code not in BUSY:
            return None
        return max(growing, read_retry_after(response.headers) or 0.0)
    http = get_http_library()
    if isinstance(error, http.ConnectError) and _is_lasting(error):
        return None
    return growing if isinstance(error, (http.TransportError, ConnectionError, TimeoutError)) else None


def _is_lasting(error: BaseException) -> bool:
    """Return whether another attempt will fail too, such as for an untrusted certificate."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error).upper()


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a busy hub asks to wait, by `Retry-After` or the `t` of `RateLimit`; else
    None.
    """
    told = headers.get("retry-after")
    if told:
        try:
            return max(0.0, float(told))
        except ValueError:
            pass
        try:
            # HTTP allows a date as well as a number of seconds.
            return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
        except (TypeError, ValueError):
            return None
    for part in (headers.get("ratelimit") or "").split(";"):
        name, _unused, value = part.strip().partition("=")
        if name == "t" and value.isdecimal():
            return float(value)
    return None
