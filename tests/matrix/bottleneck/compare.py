"""Compare bottleneck adapters and fusion with the adapters library 1.3.0, in an environment of its own.

`python -m tests.matrix.bottleneck.compare` makes that environment with venv and pip (the library needs an
older transformers), computes all cases there and here, prints the largest difference of each, and fails above
1e-5. `--record` writes the library's figures to `tests/fixtures/adapters-1.3.json`, which a fast test
compares with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.matrix.bottleneck.cases import CASES

HERE = Path(__file__).parent
FIGURES = Path(__file__).parents[2] / "fixtures" / "adapters-1.3.json"
NEEDED = ("adapters==1.3.0", "transformers==4.57.6", "torch")
CLOSE = 1e-5


def compute_theirs(environment: Path, out: Path) -> None:
    """Run the library in its environment, which is made if it is not there."""
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDED], check=True)
    subprocess.run([python, str(HERE / "oracle.py"), str(out)], check=True)


def main() -> int:
    """Compute both sides and compare them; returns the exit code."""
    from tests.matrix.bottleneck.ours import compute

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, help="a folder for the library's environment")
    parser.add_argument("--record", action="store_true", help="keep its figures as the fixture")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        compute_theirs(asked.environment or Path(folder) / "environment", out)
        theirs = json.loads(out.read_text())
        if asked.record:
            FIGURES.write_text(out.read_text())
    worst = 0.0
    for model, case in CASES:
        told, own = theirs[f"{model}, {case}"], compute(model, case)
        size = max(map(abs, told["logits"]))
        apart = max(abs(one - other) for one, other in zip(told["logits"], own["logits"], strict=True)) / size
        worst = max(worst, apart)
        print(f"{model}, {case}: largest output {size:.4g}, apart by {apart:.2g} of it")
    print(f"worst: {worst:.2g}")
    return int(worst > CLOSE)


if __name__ == "__main__":
    sys.exit(main())
