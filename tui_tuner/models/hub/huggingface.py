"""The Hugging Face Hub, or a mirror of it: searching it, and what a model on it is."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.errors import HubError
from tui_tuner.models.cards.reading import language_codes
from tui_tuner.models.hub import problems
from tui_tuner.models.hub.choice import describe_files
from tui_tuner.models.hub.kinds import HUGGINGFACE, Described, Found, HubFile
from tui_tuner.models.hub.net import answers, asked, is_offline, patience, session, small_json
from tui_tuner.text import one_line

# Tasks, by the hub's words, whose models read text and nothing else
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
_SIZES = {  # bytes of a number, by the names of safetensors
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1},
}
MOST_CONFIG = 16 << 20  # bytes


class HuggingFace:
    """Functions of one hub, under one name."""

    @staticmethod
    def endpoint() -> str:
        from huggingface_hub import constants

        return str(constants.ENDPOINT)

    @classmethod
    def search(cls, query: str, limit: int) -> list[Found]:
        """Text models, most used first."""
        endpoint = cls.endpoint()
        try:
            rows = asked(lambda: _list(endpoint, query, limit), patient=False)
        except Exception as error:
            raise problems.in_words(error, query, HUGGINGFACE, endpoint) from None
        found = [_found(row) for row in rows if _is_text(row)]
        return sorted(found, key=lambda one: -(one.downloads or 0))[:limit]

    @classmethod
    def describe(cls, name: str, revision: str | None) -> Described:
        from huggingface_hub import HfApi

        endpoint = cls.endpoint()
        try:
            info = asked(
                lambda: HfApi().model_info(name, revision=revision, timeout=patience(), files_metadata=True)
            )
            files = _files(info, name)
        except Exception as error:
            problem = problems.in_words(error, name, HUGGINGFACE, endpoint, revision)
            if type(error).__name__ == "RepositoryNotFoundError":
                problem = problems.unknown(name, HUGGINGFACE, nearest(name, cls.search))
            raise problem from None
        row = dict(vars(info))
        about = _found({**row, "lastModified": row.get("last_modified"), "cardData": row.get("card_data")})
        return describe_files(
            about,
            files,
            name=name,
            revision=revision,
            commit=str(info.sha or ""),
            remote_code=_needs_code(row.get("config"), [file.name for file in files]),
            page=f"{endpoint}/{one_line(name)}",
        )

    @classmethod
    def config(cls, model: Described) -> dict[str, Any] | None:
        """Its `config.json`, by one question; None if it is not to be had."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        if not any(file.name == "config.json" for file in model.files):
            return None
        url = hf_hub_url(model.name, "config.json", revision=model.commit, endpoint=cls.endpoint())
        return small_json(url, build_hf_headers(), MOST_CONFIG)


def _list(endpoint: str, query: str, limit: int) -> list[Mapping[str, Any]]:
    """Rows of the hub's list of models. More than asked for, as those that read no text are left out here."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    values: list[tuple[str, Any]] = [("sort", "downloads"), ("direction", -1), ("limit", 3 * limit)]
    if query:
        values.append(("search", query))
    values += [("expand", name) for name in _FIELDS]
    response = session().get(
        f"{endpoint}/api/models", params=values, headers=build_hf_headers(), timeout=patience()
    )
    hf_raise_for_status(response)
    rows = response.json()
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _is_text(row: Mapping[str, Any]) -> bool:
    """Whether a model reads text, and comes in a format that can be trained, as far as the hub says."""
    kind, tags = row.get("pipeline_tag"), _words(row.get("tags"))
    if isinstance(kind, str) and kind not in TEXT:
        return False
    other = {"gguf", "diffusers", "mlx", "onnx"} & tags
    return "safetensors" in tags or not other


def _found(row: Mapping[str, Any]) -> Found:
    """A row of a search; nothing in it is trusted to have its type."""
    card: Any = row.get("cardData")
    tags = _words(row.get("tags"))
    licence = _value(card, "license")
    if not isinstance(licence, str):
        licence = next((tag[8:] for tag in sorted(tags) if tag.startswith("license:")), "")
    updated: Any = row.get("lastModified")
    day = updated.date().isoformat() if hasattr(updated, "date") else str(updated or "")[:10]
    downloads, kind = row.get("downloads"), row.get("pipeline_tag")
    return Found(
        name=one_line(row.get("id") or row.get("modelId") or ""),
        source=HUGGINGFACE,
        parameters=_parameters(row.get("safetensors")),
        bytes=_bytes(row.get("safetensors")),
        licence=one_line(licence),
        gated=row.get("gated") not in (None, False, ""),
        downloads=downloads if _is_count(downloads) else None,
        updated=one_line(day),
        kind=one_line(kind) if isinstance(kind, str) else "",
        languages=language_codes(_value(card, "language")),
    )


def _value(card: Any, name: str) -> Any:
    """A value of a card, whichever a version of the client makes of it; None where there is none."""
    return card.get(name) if isinstance(card, Mapping) or hasattr(card, "get") else None


def _parameters(safetensors: Any) -> int | None:
    """By the headers of its safetensors files, which the hub has read; None if it has not."""
    total, by_type = _of(safetensors, "total"), _of(safetensors, "parameters")
    if isinstance(by_type, Mapping) and not (_is_count(total) and total):
        total = sum(count for count in by_type.values() if _is_count(count))
    return total if _is_count(total) and total else None


def _bytes(safetensors: Any) -> int | None:
    """Of all weights; None where a type is not known, or nothing is told."""
    by_type = _of(safetensors, "parameters")
    if not isinstance(by_type, Mapping) or not by_type:
        return None
    total = 0.0
    for name, count in by_type.items():
        if name not in _SIZES or not _is_count(count):
            return None
        total += _SIZES[name] * count
    return round(total)


def _of(told: Any, name: str) -> Any:
    """A value of an object, or of a mapping, whichever a version of the client makes of an answer."""
    return told.get(name) if isinstance(told, Mapping) else getattr(told, name, None)


def _files(info: Any, name: str) -> list[HubFile]:
    """All files of a model; where the description has no sizes, by the list of its files."""
    files = [
        _file(one.rfilename, one.size, getattr(one, "blob_id", None), getattr(one, "lfs", None))
        for one in info.siblings or []
    ]
    if files and any(file.size is not None for file in files):
        return files
    try:
        return _tree(name, str(info.sha)) or files
    except Exception:  # a mirror may know no such list: sizes are told by the files themselves
        return files


def _tree(name: str, commit: str) -> list[HubFile]:
    from huggingface_hub import HfApi

    entries: Any = HfApi().list_repo_tree(name, revision=commit, recursive=True)
    return [
        _file(one.path, one.size, one.blob_id, one.lfs) for one in entries if type(one).__name__ == "RepoFile"
    ]


def _file(name: str, size: Any, git: Any, lfs: Any) -> HubFile:
    sha = lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)
    return HubFile(
        name,
        size if _is_count(size) else None,
        sha if isinstance(sha, str) and len(sha) == 64 else "",
        git if isinstance(git, str) and len(git) == 40 and not sha else "",
    )


def _needs_code(config: Any, names: Iterable[str]) -> bool:
    """Whether the classes of a model are in Python files beside it."""
    if isinstance(config, Mapping) and config.get("auto_map"):
        return True
    return any(name.startswith(("modeling_", "configuration_")) and name.endswith(".py") for name in names)


def nearest(name: str, search: Any) -> list[str]:
    """Names like this one on a hub; empty if it cannot be asked."""
    part = name.rpartition("/")[2]
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


def reachable() -> bool:
    """Whether the hub can be asked now: it is allowed, and it answers."""
    return not is_offline() and answers(HuggingFace.endpoint())


def _words(tags: Any) -> set[str]:
    return {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, (list, tuple)) else set()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def cache_folder() -> str:
    """Where huggingface_hub keeps models on this machine (HF_HUB_CACHE, HF_HOME)."""
    from huggingface_hub import constants

    return os.path.expanduser(constants.HF_HUB_CACHE)
