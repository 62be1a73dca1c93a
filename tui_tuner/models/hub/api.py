"""What screens and commands ask of a hub. Each call waits for a network or a disk: not for an event loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tui_tuner.models.hub import fetching, local, tokens
from tui_tuner.models.hub.clients import client_of
from tui_tuner.models.hub.kinds import (
    HUGGINGFACE,
    CancelledCall,
    Described,
    Found,
    LocalModel,
    ProgressCall,
    Who,
)


def search(query: str, source: str = HUGGINGFACE, limit: int = 20) -> list[Found]:
    """Text models whose names or descriptions have these words, most used first.

    Raises:
        HubError: the hub cannot be reached, or refuses.
    """
    return client_of(source).search(query.strip(), limit)


def describe(name: str, revision: str | None = None, source: str = HUGGINGFACE) -> Described:
    """What a model on a hub is, and what fetching it would take.

    Raises:
        HubError: unknown, gated, out of reach.
        ModelError: the name is no id of a hub.
    """
    client = client_of(source)
    model = fetching.with_here(client.describe(name, revision))
    return replace(model, config=client.config(model))


def fetch(
    name: str,
    *,
    revision: str | None = None,
    source: str = HUGGINGFACE,
    progress: ProgressCall = lambda at: None,
    cancelled: CancelledCall = lambda: False,
    weights: bool = True,
) -> Path:
    """Bring a model onto this machine, and return its folder. What lies here already is not fetched again.

    Args:
        progress: Called at the start, then about five times a second while something moves; from this thread.
        cancelled: Asked ten times a second.
        weights: False takes the config and the tokenizer alone.

    Raises:
        Cancelled: `cancelled` said so; what was fetched stays.
        HubError: unknown, gated, out of reach, or it sends what is damaged.
        ModelError: the name is no id of a hub, or the model has no safetensors weights.
        DiskFullError: there is no room for it, which is looked at before anything is fetched.
    """
    return fetching.fetch(name, revision, source, progress, cancelled, weights)


def local_models(folder: Path | None = None) -> list[LocalModel]:
    """Models on this machine, last used first: in the caches of both hubs, and next to `folder` (or here)."""
    return local.local_models(folder or Path.cwd())


def endpoint(source: str = HUGGINGFACE) -> str:
    """The address of the hub that is asked: a mirror, where the environment names one."""
    return client_of(source).endpoint()


def who(source: str = HUGGINGFACE) -> Who | None:
    """Who is logged in; None is nobody."""
    return tokens.who(source)


def login(token: str, source: str = HUGGINGFACE) -> Who:
    """Keep a token for this hub, after the hub has said whose it is.

    Raises:
        HubError: the hub does not know it, or cannot be asked.
    """
    return tokens.login(token, source)


def logout(source: str = HUGGINGFACE) -> bool:
    """Forget the token of this hub; False if there was none.

    Raises:
        HubError: it comes from the environment, which this program cannot change.
    """
    return tokens.logout(source)
