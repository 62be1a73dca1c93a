"""A recipe for several machines: SkyServe starts vLLM on each, and shares requests out among them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from tui_tuner.errors import UsageError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.serving.models import check_one_base, name_models, prepare_adapter
from tui_tuner.text import one_line

_RECIPE = """\
# {about}
#   pip install 'skypilot[aws]'   (or gcp, azure, kubernetes, lambda, runpod, ...)
#   sky serve up {file}
#   sky serve status              shows the address for clients
# The key comes from the environment: sky serve up {file} --secret VLLM_API_KEY
service:
  readiness_probe:
    path: /health
    initial_delay_seconds: 1200
  replica_policy:
    min_replicas: 1
    max_replicas: 4
    target_qps_per_replica: 4

resources:
  accelerators: {{L4:1, A10G:1, L40S:1, A100:1, H100:1}}
  ports: 8000
  disk_size: 256

secrets:
  VLLM_API_KEY: null

{mounts}
setup: |
  pip install vllm

run: |
  vllm serve {model} \\
    --host 0.0.0.0 --port 8000{options}
"""


def write_recipe(origins: Sequence[Origin], path: Path) -> None:
    """Write a recipe that sends these models to the machines and serves them there.

    Raises:
        UsageError: the file is there already, or several models are not adapters of one base.
        OSError: it cannot be written.
    """
    if os.path.lexists(path):
        raise UsageError(_("is there already."), where=one_line(path, 300), hint=_("Name a new file."))
    names = name_models(origins)
    adapters = [prepare_adapter(origin, name) for origin, name in zip(origins, names, strict=True)]
    found = [one for one in adapters if one is not None]
    model = "/model"
    if len(found) == len(origins):
        mounts = {
            model: str(check_one_base(found)),
            **{f"/adapters/{one.name}": str(one.folder) for one in found},
        }
        options = [
            "--enable-lora",
            f"--max-lora-rank {max(one.rank for one in found)}",
            "--lora-modules " + " ".join(shlex.quote(f"{one.name}=/adapters/{one.name}") for one in found),
        ]
    elif len(origins) == 1 and origins[0].kind in ("model", "hub"):
        options = [f"--served-model-name {shlex.quote(names[0])}"]
        if origins[0].kind == "hub":
            mounts, model = {}, shlex.quote(origins[0].path)
        else:
            mounts = {model: origins[0].path}
    else:
        raise UsageError(
            _("vLLM takes whole models and LoRA adapters of one base, and this is neither."),
            where="--recipe",
            hint=_("Export it first with `--to merged`, and name that folder."),
        )
    text = _RECIPE.format(
        about=_("Serves {names} on several machines.", names=", ".join(names)),
        file=shlex.quote(path.name),
        mounts=_write_mounts(mounts),
        model=model,
        options="".join(f" \\\n    {option}" for option in options),
    )
    path.write_text(text, encoding="utf-8")


def _write_mounts(mounts: dict[str, str]) -> str:
    if not mounts:
        return ""
    lines = [f"  {place}: {_quote_yaml(local)}" for place, local in mounts.items()]
    return "\n".join(["file_mounts:", *lines, ""])


def _quote_yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
