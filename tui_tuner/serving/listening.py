"""The address that a server listens on, taken before a model is loaded."""

from __future__ import annotations

import errno
import socket

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line


def take_address(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet: clients are refused until it does.

    Args:
        port: 0 takes a free one.

    Raises:
        UsageError: the port is in use, or the address is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise UsageError(_("expected a number from 0 to 65535, got {port}.", port=port), where="--port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host.strip("[]"), port))
    except OSError as error:
        found.close()
        raise _refuse(host, port, error) from None
    return found


def _refuse(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            _("port {port} is in use.", port=port),
            where="--port",
            hint=_("Name another one, or 0 for any that is free. `ss -ltnp` shows who uses it."),
        )
    if error.errno == errno.EACCES:
        return UsageError(
            _("port {port} needs the rights of an administrator.", port=port),
            where="--port",
            hint=_("Name one from 1024 on."),
        )
    return UsageError(
        _("cannot be listened on: {problem}.", problem=one_line(error.strerror or error, 120)),
        where=one_line(f"{host}:{port}", 120),
        hint=_("Name an address of this machine with --host."),
    )


def write_url(host: str, bound: socket.socket) -> str:
    """Return the address for clients."""
    port = bound.getsockname()[1]
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host.strip("[]"))
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
