"""Which server runs a model: vLLM where it is installed, else `transformers serve`."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.serving.models import ServedModel
from tui_tuner.serving.translation import Translation, read_generation
from tui_tuner.serving.upstream import Upstream
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.inference.origin import Origin

VLLM, TRANSFORMERS = "vllm", "transformers"
BACKENDS = ("auto", VLLM, TRANSFORMERS)
_LINK = "model"  # the name of a model's folder, in the folder of its server
_EXTRA = ("uvicorn", "fastapi", "starlette", "openai", "h11")


@dataclass(frozen=True)
class ServerPlan:
    """What is started, and how it is reached.

    Args:
        program: Its name for the user.
        arguments: For `serving.child`.
        models: What clients may ask for.
    """

    program: str
    arguments: Sequence[str]
    upstream: Upstream
    models: Mapping[str, Translation | None]
    environment: Mapping[str, str] = field(default_factory=dict)


def choose_backend(asked: str, origins: Sequence[Origin]) -> str:
    """Return which server is used.

    Raises:
        UsageError: it is not installed, or does not serve several models.
    """
    if asked not in BACKENDS:
        raise UsageError(
            _("{word!r} is no server.", word=one_line(asked, 40)),
            where="--with",
            hint=_("Known are {names}.", names=", ".join(BACKENDS)),
        )
    chosen = asked if asked != "auto" else (VLLM if find_vllm() else TRANSFORMERS)
    if chosen == VLLM and not find_vllm():
        raise UsageError(
            _("is not installed."),
            where="vllm",
            hint=_("Install it (`pip install vllm`), or leave out --with."),
        )
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            _("serving needs {names}, which are not installed.", names=", ".join(missing)),
            where="serve",
            hint=_("`pip install 'tui-tuner[serve]'`"),
        )
    if chosen == TRANSFORMERS and len(origins) > 1:
        raise UsageError(
            _("transformers serves one model at a time, and {count} were named.", count=len(origins)),
            where="serve",
            hint=_(
                "Install vLLM, which serves several adapters of one base by name, or serve each on a port of "
                "its own."
            ),
        )
    return chosen


def find_vllm() -> bool:
    """Return whether vLLM is installed beside this program, or on PATH."""
    return importlib.util.find_spec("vllm") is not None or shutil.which("vllm") is not None


def plan_transformers(model: ServedModel, folder: Path, device: str, trusts: bool) -> ServerPlan:
    """Plan `transformers serve` for one model.

    Args:
        folder: An empty folder of this user alone, for its socket.
    """
    (folder / _LINK).symlink_to(model.folder, target_is_directory=True)
    path = str(folder / "socket")
    options: dict[str, Any] = {"device": device, "trust_remote_code": trusts}
    arguments = [path, _LINK, json.dumps(options)]
    # found by the library in the model's folder, which is on this machine
    environment = {"HF_HUB_OFFLINE": "1"}
    translation = Translation(model.name, _LINK, read_generation(model.folder))
    return ServerPlan(_name_transformers(), arguments, Upstream(path), {model.name: translation}, environment)


def _name_transformers() -> str:
    from importlib.metadata import version

    return f"transformers serve {version('transformers')}"


def plan_vllm(base: ServedModel, adapters: Sequence[ServedModel], trusts: bool) -> ServerPlan:
    """Plan vLLM for one base model, and adapters of it by name."""
    port = _find_free_port()
    # behind the front it is on a port of this machine, which its other users reach: it has a key of its own
    key = secrets.token_urlsafe(24)
    program = (
        [shutil.which("vllm")]
        if shutil.which("vllm")
        else [sys.executable, "-m", "vllm.entrypoints.cli.main"]
    )
    command = [*map(str, program), "serve", str(base.folder), "--served-model-name", base.name]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    if adapters:
        rank = max((adapter.rank for adapter in adapters), default=16)
        command += [
            "--enable-lora",
            "--max-lora-rank",
            str(_round_rank(rank)),
            "--max-loras",
            str(len(adapters)),
        ]
        command += ["--lora-modules", *(f"{adapter.name}={adapter.folder}" for adapter in adapters)]
    if trusts:
        command.append("--trust-remote-code")
    names = [*(adapter.name for adapter in adapters), base.name]
    return ServerPlan(
        "vLLM",
        ["exec", *command],
        Upstream(port=port, headers={"authorization": f"Bearer {key}"}),
        {name: None for name in names},
        {"VLLM_API_KEY": key},
    )


def _round_rank(rank: int) -> int:
    """Return the next rank that vLLM has kernels for."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), 512)


def _find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_server_folder(parent: str) -> Path:
    """Return the path for a server's socket; paths of sockets are short."""
    return Path(parent) / str(os.getpid())
