"""One of the processes that train a run together: `python -m tests.core.step.two_ranks FOLDER`.

Its config is `config.yaml` in the folder; it writes what it said, and its weights, to a folder of its rank.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.conftest import Recorder
from tui_tuner.compute.forward import Rows
from tui_tuner.config.load import load_config
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.store import RunStore
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.session import run_training
from tui_tuner.training.step.engine import Engine


def main(folder: Path) -> int:
    ranks, sink = Ranks.from_environment(), Recorder()
    config = load_config(folder / "config.yaml")
    run = RunStore(folder / str(ranks.rank)).create_run(config)
    shares: list[int] = []
    inner = Engine._accumulate_gradients

    def accumulate(engine: Engine, data: Rows, rows: list[int], batch: list[int], weight: float) -> object:
        shares.append(len(rows))
        return inner(engine, data, rows, batch, weight)

    Engine._accumulate_gradients = accumulate  # type: ignore[method-assign,assignment]
    outcome = run_training(config, run, sink, CommandReceiver(run.control_path), ranks=ranks)
    said = {"steps": sink.steps(), "shares": shares, "status": outcome.status, "message": outcome.message}
    (folder / f"said-{ranks.rank}.json").write_text(json.dumps(said), encoding="utf-8")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
