"""Choose the files of a model to download: safetensors weights, config, tokenizer, and licence texts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from tui_tuner.models.hub.kinds import FoundModel, HubFile, ModelDescription

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SMALL = (
    *("config.json", "generation_config.json", "chat_template.jinja", "chat_template.json"),
    *("additional_chat_templates/*.jinja", "preprocessor_config.json", "processor_config.json"),
    # Files that the tokenizers of transformers are read from
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "vocab.bpe", "merges.txt", "bpe.codes", "entity_vocab.json", "emoji.json"),
    *(
        "*.tiktoken",
        "spiece.model",
        "tokenizer.model",
        "tokenizer.model.v*",
        "sentencepiece.*model",
        "spm.model",
    ),
    *("source.spm", "target.spm", "tekken.json", "dict.txt"),
    # Code that comes with a model, which runs only if the config allows it
    "*.py",
    # Licence terms and documentation
    *("README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*"),
)


def choose_download_files(files: Iterable[HubFile], weights: bool = True) -> list[HubFile]:
    """Choose the files to download, small ones first; names that would leave the folder are skipped.

    Weights are `model.safetensors` or the shards of an index; never pickles or files for other programs.
    """
    known = {file.name: file for file in files if is_inside_folder(file.name)}
    chosen = [file for name, file in known.items() if is_small_file(name)]
    if weights:
        chosen += [known[name] for name in list_weight_names(known)]
    return sorted(chosen, key=lambda file: (is_weight_file(file.name), file.name != "config.json", file.name))


def describe_hub_files(about: FoundModel, files: Iterable[HubFile], **more: Any) -> ModelDescription:
    """Combine a hub's facts about a model with its files.

    Args:
        more: Further fields of the description.
    """
    known = list(files)
    chosen = choose_download_files(known)
    return ModelDescription(
        source=about.source,
        files=tuple(chosen),
        bytes=sum(file.size or 0 for file in chosen),
        parameters=about.parameters,
        licence=about.licence,
        gated=about.gated,
        downloads=about.downloads,
        updated=about.updated,
        kind=about.kind,
        languages=about.languages,
        safetensors=any(file.name.endswith(".safetensors") for file in chosen),
        pickled=any(is_pickled_file(file.name) for file in known),
        **more,
    )


def list_weight_names(names: Iterable[str]) -> list[str]:
    """List the safetensors files that transformers reads, with their index; empty if there are none."""
    here = {name for name in names if "/" not in name}
    if SINGLE in here:
        return [SINGLE]
    shards = sorted(name for name in here if _SHARD.fullmatch(name))
    if not shards:
        shards = sorted(
            name
            for name in here
            if name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter"))
        )
    if not shards or INDEX not in here:
        return []
    return [INDEX, *shards]


def is_pickled_file(name: str) -> bool:
    """Return whether a file holds weights as Python pickles."""
    return "/" not in name and name.endswith((".bin", ".pt", ".pth")) and "training_args" not in name


def is_weight_file(name: str) -> bool:
    return name.endswith(".safetensors") or name == INDEX


def is_small_file(name: str) -> bool:
    """Return whether to download this file with the weights; `*` in a pattern does not cross folders."""
    return any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in _SMALL)


def is_inside_folder(name: str) -> bool:
    """Return whether a name from a server stays inside the folder that it is put into."""
    parts = name.split("/")
    return bool(name) and "\\" not in name and "\0" not in name and not {"", ".", ".."} & set(parts)
