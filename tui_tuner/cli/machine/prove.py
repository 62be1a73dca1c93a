"""`tui-tuner doctor --resume CONFIG`: tests whether a killed run of a config resumes exactly."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import typer

from tui_tuner.errors import EXIT_DONE, EXIT_FAILED, TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_SHOWN = 5


def print_resume_proof(config: str, json: bool) -> int:
    """Train a short version of `config` with and without a kill, compare them, and print the result.

    Returns the exit code: 0 if the runs are bit-for-bit equal.
    """
    from tui_tuner.cli.start import _load_run_config
    from tui_tuner.launch.beforehand import check_config_hardware
    from tui_tuner.launch.proof import prove_exactness, shorten_proof_config

    asked = _load_run_config(config, None, None)
    check_config_hardware(asked)
    # Inside the folder of runs, as that is the disk that checkpoints are meant for
    runs = Path(asked.output.folder).expanduser()
    made = not runs.exists()
    runs.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=".proof-", dir=runs))
    short = shorten_proof_config(asked, root)

    def print_progress(text: str) -> None:
        typer.echo(text, err=json)
        (sys.stderr if json else sys.stdout).flush()

    print_progress(
        _(
            "{config}: {max_steps} steps, a checkpoint every {save_every}",
            config=one_line(config),
            max_steps=short.training.max_steps,
            save_every=short.output.save_every,
        )
    )
    try:
        found = prove_exactness(short, root, print_progress)
    except TunerError as error:
        if not json:
            raise
        typer.echo(_dump_json({"exact": False, "error": str(error)}))
        return error.exit_code
    finally:
        shutil.rmtree(root, ignore_errors=True)
        # A folder that was created for the test alone is removed again
        if made and not any(runs.iterdir()):
            runs.rmdir()
    if json:
        typer.echo(_dump_json({"exact": found.is_exact, **asdict(found)}))
    else:
        _print_proof(found)
    return EXIT_DONE if found.is_exact else EXIT_FAILED


def _print_proof(found: object) -> None:
    from tui_tuner.launch.proof import Proof

    assert isinstance(found, Proof)
    killed = ", ".join(map(str, found.killed_at))
    resumed = ", ".join(map(str, found.resumed_from))
    if resumed:
        typer.echo(_("killed at step {killed}, resumed from step {resumed}", killed=killed, resumed=resumed))
    else:
        typer.echo(_("killed at step {killed}, resumed from the start", killed=killed))
    typer.echo(
        _(
            "compared: {steps_compared} steps, {evaluations_compared} evaluations, "
            "{files_compared} weight files",
            steps_compared=found.steps_compared,
            evaluations_compared=found.evaluations_compared,
            files_compared=found.files_compared,
        )
    )
    for difference in found.differences[:_SHOWN]:
        typer.echo(_("differs: {difference}", difference=one_line(difference)))
    more = len(found.differences) - _SHOWN
    if more > 0:
        typer.echo(_("and {more} more", more=more))
    typer.echo(
        _("exact: a killed run of this config resumes bit for bit") if found.is_exact else _("NOT exact")
    )


def _dump_json(value: object) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
