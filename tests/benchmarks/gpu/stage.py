"""One process of the benchmark: `python -m gpu.stage JSON`; the result goes to a file."""

from __future__ import annotations

import json
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

from gpu.cases import BARE, LIVE, OURS, Case, Steps

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "liger-kernel",
    "bitsandbytes",
    "unsloth",
    "flash-attn",
    "triton",
)


def run(job: dict[str, Any], began: float) -> dict[str, Any]:
    """What a job asks for; a failure is a result with its problem."""
    folder, who = Path(job["folder"]), job["who"]
    try:
        if who == "make":
            from gpu.models import make

            make(folder, job["model"], job["chats"])
            return {"seconds": time.time() - began}
        case, steps = Case(**job["case"]), Steps(**job["steps"])
        if who == "count":
            from gpu.arithmetic import counted_launches

            return counted_launches(case)
        if who in (OURS, LIVE):
            from gpu import ours

            found = (ours.headless if who == OURS else ours.live)(folder, case, steps, began)
        else:
            from gpu import peers

            found = (
                peers.bare(folder, case, steps, began)
                if who == BARE
                else peers.trainer(who, folder, case, steps, began)
            )
        return found | {"versions": versions(), "declared": declared()}
    except Exception as error:
        traceback.print_exc()
        return {"problem": f"{type(error).__name__}: {error}"[:300]}


def versions() -> dict[str, str]:
    """Those packages that are installed here."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def declared() -> dict[str, int]:
    """Launches that our own operations declare."""
    try:
        from tui_tuner.compute.kernels.kernel_launches import LAUNCHES
    except ImportError:
        return {}
    return dict(LAUNCHES)


def main() -> None:
    job = json.loads(sys.argv[1])
    found = run(job, job.get("began") or time.time())
    Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
