"""Trains every pair of a task and a method, and writes the table of README.md: `make matrix`.

Each pair is trained, killed in the middle and resumed, which must give the same losses and weights bit for
bit, and loaded by transformers and peft alone, which must say the same to 1e-5. A pair that cannot be trained
is refused before the first step, with the reason. The exit code is 1 where a pair does anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.matrix.pairs import METHODS, WORK, make_models, write_rows  # noqa: E402
from tests.matrix.table import BEGIN, END, table  # noqa: E402
from tests.matrix.worker import TEXTS  # noqa: E402

HERE = Path(__file__).parent
CLOSE = 1e-5


def run_pairs(folder: Path, pairs: list[str], batch: int, processes: int) -> dict[str, dict[str, Any]]:
    """What each pair came to, by `task-model:method`."""
    batches = [pairs[start : start + batch] for start in range(0, len(pairs), batch)]

    def work(part: list[str]) -> None:
        subprocess.run([sys.executable, "-P", str(HERE / "worker.py"), str(folder), *part], check=False)
        print(f"  {', '.join(part)}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(work, batches))
    found = {}
    for pair in pairs:
        path = folder / "found" / pair.replace(":", "-") / "result.json"
        found[pair] = json.loads(path.read_text()) if path.exists() else {"failed": "the process ended"}
    return found


def reload(folder: Path, found: dict[str, dict[str, Any]]) -> None:
    """Load every final model in one fresh process without a module of ours, and note what is different."""
    asks = {
        pair: {
            "folder": str(Path(result["folder"]) / "last"),
            "said": str(folder / "found" / pair.replace(":", "-") / "said.pt"),
            "texts": TEXTS,
        }
        for pair, result in found.items()
        if "folder" in result
    }
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / "reload.py")],
        input=json.dumps(asks),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    for pair, apart in json.loads(done.stdout).items():
        found[pair]["apart"] = apart
        if not (isinstance(apart, float) and apart <= CLOSE):
            found[pair]["problems"].append(f"loaded again it says something else: {apart}")


def write_table(path: Path, text: str) -> None:
    """Put the table between its two markers."""
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} has lost its markers {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="how names of pairs begin, by commas: sft-decoder:lora")
    parser.add_argument("--batch", type=int, default=11, help="pairs of one process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", help="a folder to work in, which stays")
    parser.add_argument("--print", action="store_true", help="print the table, and leave README.md as it is")
    options = parser.parse_args()
    pairs = [f"{name}:{method}" for name in WORK for method in METHODS]
    wanted = options.only.split(",")
    pairs = [pair for pair in pairs if any(pair.startswith(word) for word in wanted)]
    with tempfile.TemporaryDirectory(prefix="matrix-") as scratch:
        folder = Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        make_models(folder)
        write_rows(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        found = run_pairs(folder, pairs, options.batch, options.processes)
        reload(folder, found)
    bad = 0
    for pair, result in found.items():
        problems = result.get("problems", []) or ([result["failed"]] if "failed" in result else [])
        if result.get("steps") == 0:  # nothing was trained: refused
            problems = []
        bad += bool(problems)
        for problem in problems:
            print(f"{pair}: {problem}", file=sys.stderr)
    text = table(found)
    if options.print or options.only:
        print(text)
    elif not bad:
        write_table(ROOT / "README.md", text)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
