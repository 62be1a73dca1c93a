"""Read the files of a model that give its shapes: config.json, from a folder or the hub, and safetensors
headers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import HubError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.fetching import fetch_model_config
from tui_tuner.models.hub.huggingface import HuggingFace, is_hub_reachable
from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE
from tui_tuner.models.hub.ms_store import find_modelscope_folder
from tui_tuner.models.sizes import check_sizes
from tui_tuner.text import one_line

MAX_CONFIG_BYTES = 16 * 1024 * 1024
_AGAIN = N_("Download or copy it again.")


def read_config_json(path: Path) -> dict[str, Any]:
    """Read a JSON object such as a `config.json`.

    Raises:
        ModelError: missing, unreadable, too large, not JSON or not an object.
    """
    shown = one_line(path)
    try:
        # Reading a device or a pipe may never end.
        if path.exists() and not path.is_file():
            raise ModelError(_("is not a regular file."), where=shown)
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(_("is larger than 16 MiB, so it is not a config."), where=shown)
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        hint = _("A model folder holds config.json, the tokenizer and safetensors weights.")
        raise ModelError(_("no such file."), where=shown, hint=hint) from None
    except OSError as error:
        raise ModelError(_("cannot be read: {problem}.", problem=error.strerror), where=shown) from None
    # Deeply nested JSON exhausts the recursion limit of the parser.
    except (ValueError, RecursionError) as error:
        raise ModelError(_("is not valid JSON: {error}.", error=one_line(error)), where=shown) from None
    if not isinstance(values, dict):
        raise ModelError(_("does not hold a JSON object."), where=shown)
    return values


def read_model_config(path: Path) -> dict[str, Any]:
    """Read the `config.json` of a model and check that its sizes are plausible.

    Raises:
        ModelError: it cannot be read, or describes an impossible model.
    """
    values = read_config_json(path)
    check_sizes(values, one_line(path))
    return values


def find_hub_config(model: ModelSection, network: bool) -> Path:
    """Find the `config.json` of a hub model in the local cache or, with `network`, on the hub.

    Raises:
        ModelError: not a hub id, or a repository without a config.
        HubError: gated, unknown, or unreachable.
    """
    if model.hub == MODELSCOPE:
        return _config_from_modelscope(model, network)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    shown = one_line(model.name)
    try:
        return Path(
            hf_hub_download(
                model.name,
                "config.json",
                revision=model.revision,
                # The client waits much longer for a hub that does not answer than `is_hub_reachable` does.
                local_files_only=not (network and is_hub_reachable()),
                etag_timeout=5,
            )
        )
    except LocalEntryNotFoundError:
        hint = _("Check the connection, or give a local folder with config.json.")
        raise HubError(
            _("is not in the local cache, and the hub cannot be reached."), where=shown, hint=hint
        ) from None
    except EntryNotFoundError:
        raise ModelError(_("has no config.json on the hub."), where=shown) from None
    except Exception as error:
        endpoint = HuggingFace.hub_address()
        raise hub_errors.explain_error(error, model.name, HUGGINGFACE, endpoint, model.revision) from None


def _config_from_modelscope(model: ModelSection, network: bool) -> Path:
    """Find the `config.json` of a ModelScope model in its local folder or, with `network`, on the hub."""
    folder = find_modelscope_folder(model.name, model.revision)
    if folder is not None and (folder / "config.json").is_file():
        return folder / "config.json"
    if not network:
        hint = _("Check the connection, or give a local folder with config.json.")
        what = _("is not in the local cache, and the hub was not asked.")
        raise HubError(what, where=one_line(model.name), hint=hint)
    return fetch_model_config(model.name, model.revision, MODELSCOPE)


def count_elements(folder: Path) -> int | None:
    """Count the elements in the safetensors files of a folder, from their headers; None if there are none.

    Quantised files hold packed integers, whose number says nothing about parameters: None.
    """
    total, files = 0, sorted(folder.glob("*.safetensors"))
    for path in files:
        header = read_safetensors_header(path)
        for tensor in header.values():
            if not isinstance(tensor, dict) or not str(tensor.get("dtype", "")).startswith(("F", "BF")):
                return None
            size = 1
            for dimension in tensor.get("shape", []):
                size *= int(dimension)
            total += size
    return total if files else None


def has_module(folder: Path, module: str) -> bool:
    """Return whether the safetensors files of a folder hold weights of a module, by a part of their names."""
    files = sorted(folder.glob("*.safetensors"))
    return any(module in name.split(".") for path in files for name in read_safetensors_header(path))


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """Read names, dtypes and shapes in a safetensors file, without its weights.

    Raises:
        ModelError: the file is damaged.
    """
    shown = one_line(path)
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            # The format limits a header to 100 MB; a damaged length could ask for terabytes.
            if not 2 <= size <= 100_000_000:
                raise ModelError(
                    _("is damaged: its header has no sensible length."), where=shown, hint=_(_AGAIN)
                )
            header = json.loads(file.read(size))
    except OSError as error:
        raise ModelError(_("cannot be read: {problem}.", problem=error.strerror), where=shown) from None
    except (ValueError, RecursionError):
        raise ModelError(_("is damaged: its header is not JSON."), where=shown, hint=_(_AGAIN)) from None
    if not isinstance(header, dict):
        raise ModelError(_("is damaged: its header is not a JSON object."), where=shown)
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        if not (
            isinstance(tensor, dict)
            and isinstance(tensor.get("dtype"), str)
            and _whole_numbers(tensor.get("shape"))
            and _whole_numbers(tensor.get("data_offsets"), 2)
        ):
            what = _("is damaged: its header does not describe {tensor}.", tensor=one_line(name, 80))
            raise ModelError(what, where=shown, hint=_(_AGAIN))
    return header


def _whole_numbers(values: Any, count: int | None = None) -> bool:
    """Return whether this is a list of `count` sizes: whole numbers of at most 64 bits."""
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        # `type`, as isinstance would accept booleans.
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def check_safetensors(folder: Path) -> None:
    """Check by headers and lengths that the safetensors files of a folder are complete; reads no weights.

    Raises:
        ModelError: a file is damaged or cut short, or the index names a file that is missing.
    """
    for path in sorted(folder.glob("*.safetensors")):
        header = read_safetensors_header(path)
        offsets = [t.get("data_offsets") for t in header.values() if isinstance(t, dict)]
        ends = [pair[1] for pair in offsets if isinstance(pair, list) and len(pair) == 2]
        with open(path, "rb") as file:
            # 8 bytes for the length of the header, the header, and the tensors at their offsets.
            wanted = 8 + int.from_bytes(file.read(8), "little") + max(map(int, ends), default=0)
        found = path.stat().st_size
        if found != wanted:
            raise ModelError(
                _(
                    "is damaged: it has {found:,} bytes, but its header describes {wanted:,}.",
                    found=found,
                    wanted=wanted,
                ),
                where=one_line(path),
                hint=_(_AGAIN),
            )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_config_json(index).get("weight_map")
        names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                _(
                    "{missing} of {count} weight files are missing, such as {name}.",
                    missing=len(missing),
                    count=len(names),
                    name=one_line(missing[0]),
                ),
                where=one_line(folder),
                hint=_("Download or copy the model again."),
            )
