"""Hub calls for screens and commands. Each one waits for a network or a disk, so not in an event loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tui_tuner.models.hub import fetching, local, tokens
from tui_tuner.models.hub.clients import find_hub_client
from tui_tuner.models.hub.kinds import (
    HUGGINGFACE,
    Account,
    CancelledCall,
    FoundModel,
    LocalModel,
    ModelDescription,
    ProgressCall,
)


def search_models_on_hub(query: str, source: str = HUGGINGFACE, limit: int = 20) -> list[FoundModel]:
    """Find text models whose names or descriptions contain these words, most downloaded first.

    Raises:
        HubError: the hub cannot be reached, or refuses.
    """
    return find_hub_client(source).search_models(query.strip(), limit)


def describe_hub_model(name: str, revision: str | None = None, source: str = HUGGINGFACE) -> ModelDescription:
    """Describe a model on a hub, and what downloading it would take.

    Raises:
        HubError: unknown, gated, unreachable.
        ModelError: the name is not a hub id.
    """
    client = find_hub_client(source)
    model = fetching.measure_present_bytes(client.describe_model(name, revision))
    return replace(model, config=client.read_config(model))


def fetch_hub_model(
    name: str,
    *,
    revision: str | None = None,
    source: str = HUGGINGFACE,
    progress: ProgressCall = lambda at: None,
    cancelled: CancelledCall = lambda: False,
    weights: bool = True,
) -> Path:
    """Download a model and return its folder. Files that are already here are not downloaded again.

    Args:
        progress: Called at the start, then about five times a second while something moves; from this thread.
        cancelled: Called ten times a second; True stops the download.
        weights: False downloads only the config and the tokenizer.

    Raises:
        Cancelled: `cancelled` returned True; downloaded files stay.
        HubError: unknown, gated, unreachable, or it sends damaged data.
        ModelError: the name is not a hub id, or the model has no safetensors weights.
        DiskFullError: there is not enough space, which is checked before the download starts.
    """
    return fetching.download_model(name, revision, source, progress, cancelled, weights)


def list_hub_models(folder: Path | None = None) -> list[LocalModel]:
    """List models on this machine, last used first: in the caches of both hubs, and next to `folder` (or
    here).
    """
    return local.list_models_on_machine(folder or Path.cwd())


def find_hub_address(source: str = HUGGINGFACE) -> str:
    """Return the address of the hub: a mirror if the environment names one."""
    return find_hub_client(source).hub_address()


def find_hub_user(source: str = HUGGINGFACE) -> Account | None:
    """Return who is logged in, or None."""
    return tokens.find_token_user(source)


def log_in_to_hub(token: str, source: str = HUGGINGFACE) -> Account:
    """Store a token for this hub after the hub has confirmed whose it is.

    Raises:
        HubError: the hub does not know it, or cannot be reached.
    """
    return tokens.store_checked_token(token, source)


def log_out_of_hub(source: str = HUGGINGFACE) -> bool:
    """Delete the stored token of this hub; return False if there was none.

    Raises:
        HubError: it comes from the environment, which this program cannot change.
    """
    return tokens.delete_stored_token(source)
