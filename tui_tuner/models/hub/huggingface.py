"""Search the Hugging Face Hub or a mirror of it, and describe its models."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.errors import HubError
from tui_tuner.models.cards.model_card import find_language_codes
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.choice import describe_hub_files
from tui_tuner.models.hub.kinds import HUGGINGFACE, FoundModel, HubFile, ModelDescription
from tui_tuner.models.hub.net import (
    call_with_retries,
    get_http_session,
    is_hub_answering,
    is_network_offline,
    make_request_timeouts,
    read_small_json,
)
from tui_tuner.text import one_line

# Tasks, by the hub's names, whose models read text only
TEXT = frozenset(
    {
        *(
            "text-generation",
            "fill-mask",
            "text-classification",
            "token-classification",
            "question-answering",
        ),
        *(
            "text2text-generation",
            "summarization",
            "translation",
            "feature-extraction",
            "sentence-similarity",
        ),
        *("zero-shot-classification", "text-ranking", "multiple-choice", "table-question-answering"),
    }
)
_FIELDS = (
    *("safetensors", "downloads", "gated", "pipeline_tag", "lastModified", "cardData", "tags"),
    "library_name",
)
_NEAREST = 3
# Bytes per number, by the type names of safetensors
_SIZES = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1},
}
MOST_CONFIG = 16 << 20  # bytes


class HuggingFace:
    """The calls of one hub, grouped so that `find_hub_client` can choose."""

    @staticmethod
    def hub_address() -> str:
        from huggingface_hub import constants

        return str(constants.ENDPOINT)

    @classmethod
    def search_models(cls, query: str, limit: int) -> list[FoundModel]:
        """Search for text models, most downloaded first."""
        endpoint = cls.hub_address()
        try:
            rows = call_with_retries(lambda: _request_rows(endpoint, query, limit), patient=False)
        except Exception as error:
            raise hub_errors.explain_error(error, query, HUGGINGFACE, endpoint) from None
        found = [_parse_row(row) for row in rows if _is_text(row)]
        return sorted(found, key=lambda one: -(one.downloads or 0))[:limit]

    @classmethod
    def describe_model(cls, name: str, revision: str | None) -> ModelDescription:
        from huggingface_hub import HfApi

        endpoint = cls.hub_address()
        try:
            info = call_with_retries(
                lambda: HfApi().model_info(
                    name, revision=revision, timeout=make_request_timeouts(), files_metadata=True
                )
            )
            files = _list_files(info, name)
        except Exception as error:
            problem = hub_errors.explain_error(error, name, HUGGINGFACE, endpoint, revision)
            if type(error).__name__ == "RepositoryNotFoundError":
                # Compared by name: the class moved between releases of the client.
                problem = hub_errors.make_unknown_model_error(
                    name, HUGGINGFACE, find_similar_names(name, cls.search_models)
                )
            raise problem from None
        row = dict(vars(info))
        about = _parse_row(
            {**row, "lastModified": row.get("last_modified"), "cardData": row.get("card_data")}
        )
        return describe_hub_files(
            about,
            files,
            name=name,
            revision=revision,
            commit=str(info.sha or ""),
            remote_code=_needs_code(row.get("config"), [file.name for file in files]),
            page=f"{endpoint}/{one_line(name)}",
        )

    @classmethod
    def read_config(cls, model: ModelDescription) -> dict[str, Any] | None:
        """Read the `config.json` of a model in one request; None if it is not available."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        if not any(file.name == "config.json" for file in model.files):
            return None
        url = hf_hub_url(model.name, "config.json", revision=model.commit, endpoint=cls.hub_address())
        return read_small_json(url, build_hf_headers(), MOST_CONFIG)


def _request_rows(endpoint: str, query: str, limit: int) -> list[Mapping[str, Any]]:
    """Request rows of the hub's list of models."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    # Three times as many as wanted, because models that do not read text are dropped afterwards.
    values: list[tuple[str, Any]] = [("sort", "downloads"), ("direction", -1), ("limit", 3 * limit)]
    if query:
        values.append(("search", query))
    values += [("expand", name) for name in _FIELDS]
    response = get_http_session().get(
        f"{endpoint}/api/models", params=values, headers=build_hf_headers(), timeout=make_request_timeouts()
    )
    hf_raise_for_status(response)
    rows = response.json()
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _is_text(row: Mapping[str, Any]) -> bool:
    """Return whether a model reads text and has a trainable format, as far as the hub reports it."""
    kind, tags = row.get("pipeline_tag"), _tag_set(row.get("tags"))
    if isinstance(kind, str) and kind not in TEXT:
        return False
    other = {"gguf", "diffusers", "mlx", "onnx"} & tags
    # Conversions for other programs are left out; a model without any tag may still be trainable.
    return "safetensors" in tags or not other


def _parse_row(row: Mapping[str, Any]) -> FoundModel:
    """Convert a search row to `FoundModel`; no value in it is trusted to have its type."""
    card: Any = row.get("cardData")
    tags = _tag_set(row.get("tags"))
    licence = _card_value(card, "license")
    if not isinstance(licence, str):
        licence = next((tag[8:] for tag in sorted(tags) if tag.startswith("license:")), "")
    updated: Any = row.get("lastModified")
    day = updated.date().isoformat() if hasattr(updated, "date") else str(updated or "")[:10]
    downloads, kind = row.get("downloads"), row.get("pipeline_tag")
    return FoundModel(
        name=one_line(row.get("id") or row.get("modelId") or ""),
        source=HUGGINGFACE,
        parameters=_count_parameters(row.get("safetensors")),
        bytes=_count_bytes(row.get("safetensors")),
        licence=one_line(licence),
        gated=row.get("gated") not in (None, False, ""),
        downloads=downloads if _is_count(downloads) else None,
        updated=one_line(day),
        kind=one_line(kind) if isinstance(kind, str) else "",
        languages=find_language_codes(_card_value(card, "language")),
    )


def _card_value(card: Any, name: str) -> Any:
    """Return a value of a card, which is a mapping or an object depending on the client's version."""
    return card.get(name) if isinstance(card, Mapping) or hasattr(card, "get") else None


def _count_parameters(safetensors: Any) -> int | None:
    """Count parameters from the safetensors headers that the hub has read; None if it has not."""
    total, by_type = _get_value(safetensors, "total"), _get_value(safetensors, "parameters")
    if isinstance(by_type, Mapping) and not (_is_count(total) and total):
        total = sum(count for count in by_type.values() if _is_count(count))
    return total if _is_count(total) and total else None


def _count_bytes(safetensors: Any) -> int | None:
    """Add up the bytes of all weights; None if a type is unknown or nothing is reported."""
    by_type = _get_value(safetensors, "parameters")
    if not isinstance(by_type, Mapping) or not by_type:
        return None
    total = 0.0
    for name, count in by_type.items():
        if name not in _SIZES or not _is_count(count):
            return None
        total += _SIZES[name] * count
    return round(total)


def _get_value(told: Any, name: str) -> Any:
    """Return a value of an object or a mapping, depending on the client's version."""
    return told.get(name) if isinstance(told, Mapping) else getattr(told, name, None)


def _list_files(info: Any, name: str) -> list[HubFile]:
    """List all files of a model; if its description has no sizes, from the list of the repository."""
    files = [
        _parse_file(one.rfilename, one.size, getattr(one, "blob_id", None), getattr(one, "lfs", None))
        for one in info.siblings or []
    ]
    if files and any(file.size is not None for file in files):
        return files
    try:
        return _list_tree(name, str(info.sha)) or files
    # A mirror may not offer this list; sizes then come with each file.
    except Exception:
        return files


def _list_tree(name: str, commit: str) -> list[HubFile]:
    from huggingface_hub import HfApi

    entries: Any = HfApi().list_repo_tree(name, revision=commit, recursive=True)
    return [
        _parse_file(one.path, one.size, one.blob_id, one.lfs)
        for one in entries
        if type(one).__name__ == "RepoFile"
    ]


def _parse_file(name: str, size: Any, git: Any, lfs: Any) -> HubFile:
    sha = lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)
    return HubFile(
        name,
        size if _is_count(size) else None,
        sha if isinstance(sha, str) and len(sha) == 64 else "",
        git if isinstance(git, str) and len(git) == 40 and not sha else "",
    )


def _needs_code(config: Any, names: Iterable[str]) -> bool:
    """Return whether the classes of a model are defined in Python files that come with it."""
    if isinstance(config, Mapping) and config.get("auto_map"):
        return True
    return any(name.startswith(("modeling_", "configuration_")) and name.endswith(".py") for name in names)


def find_similar_names(name: str, search: Any) -> list[str]:
    """Find similar names on a hub; empty if it cannot be reached."""
    part = name.rpartition("/")[2]
    # The hub's search needs every word to match, so shorter and looser forms of the name follow.
    words = [part, part.replace("-", " ").replace("_", " "), part[: max(3, len(part) * 2 // 3)]]
    found: dict[str, None] = {}
    for word in dict.fromkeys(words):
        try:
            found.update(dict.fromkeys(one.name for one in search(word, 20)))
        except HubError:
            break
        if len(found) >= _NEAREST:
            break
    whole = difflib.get_close_matches(name.lower(), [one.lower() for one in found], _NEAREST, 0.6)
    return [one for one in found if one.lower() in whole]


def is_hub_reachable() -> bool:
    """Return whether the hub may be used and answers now."""
    return not is_network_offline() and is_hub_answering(HuggingFace.hub_address())


def _tag_set(tags: Any) -> set[str]:
    return {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, (list, tuple)) else set()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def find_huggingface_cache() -> str:
    """Return where huggingface_hub keeps models on this machine (HF_HUB_CACHE, HF_HOME)."""
    from huggingface_hub import constants

    return os.path.expanduser(constants.HF_HUB_CACHE)
