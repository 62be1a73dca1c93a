"""Run the core's tests with the lowest and the highest versions of its libraries: `make versions`.

    python tests/matrix/versions.py                  # both
    python tests/matrix/versions.py lowest --keep ~/environments -- -k resume

Each of the two is a virtual environment of its own. The lowest has the first minor version that
pyproject.toml allows of torch, transformers, peft, accelerate and bitsandbytes; the highest has the newest of
each. Both are large, for torch brings its GPU libraries along where pip finds no build for processors. The
exit code is that of a run of the tests that failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
SHOW = f"from importlib.metadata import version; print(*({{n: version(n) for n in {LIBRARIES}}}.items()))"


def read_bounds(pyproject: Path) -> dict[str, tuple[str, str]]:
    """Return the lower bound of each library and its whole requirement, as pyproject.toml has them."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    found = {}
    for requirement in project["dependencies"]:
        match = re.match(r"([\w-]+)>=([\d.]+)", requirement)
        if match and match[1] in LIBRARIES:
            found[match[1]] = (match[2], requirement)
    return found


def choose_requirements(which: str, bounds: dict[str, tuple[str, str]]) -> list[str]:
    """Return what pip is asked for beside the package itself."""
    if which == "highest":
        return [requirement for _lowest, requirement in bounds.values()]
    # ~= takes the newest patch of the lowest minor version: whoever pins a minor version gets that one
    return [f"{name}~={lowest}.0" for name, (lowest, _requirement) in bounds.items()]


def make_environment(folder: Path, which: str) -> Path:
    """Make a virtual environment with these versions, or update one that exists; return its Python."""
    python = folder / which / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / which)], check=True)
    wanted = choose_requirements(which, read_bounds(ROOT / "pyproject.toml"))
    # One call for all of them, so that pip settles what else they need (tokenizers, huggingface_hub) together
    install = [str(python), "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*install, f"{ROOT}[test]", *wanted], check=True)
    return python


def run_tests(python: Path, arguments: list[str]) -> int:
    """Run the core's tests, or what was asked for; return pytest's exit code."""
    said = subprocess.run([str(python), "-c", SHOW], check=True, capture_output=True, text=True).stdout
    print(said.strip(), flush=True)
    return subprocess.run([str(python), "-m", "pytest", *(arguments or ["tests/core"])], cwd=ROOT).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "which", nargs="*", choices=["lowest", "highest", []], help="both where none is named"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the environments; they are deleted otherwise")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:split])
    failed = 0
    with tempfile.TemporaryDirectory(prefix="tui-tuner-versions-") as temporary:
        for which in asked.which or ["lowest", "highest"]:
            python = make_environment(asked.keep or Path(temporary), which)
            failed = run_tests(python, sys.argv[split + 1 :]) or failed
    return failed


if __name__ == "__main__":
    sys.exit(main())
