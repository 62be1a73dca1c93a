"""Commands that start a run: `demo`, `run`, `resume`, and the workbench itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Detach, Json, NoTui, Runs, Sets, say_aside
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig  # pydantic takes 0.1 s, and `--help` needs none

ConfigPath = Annotated[
    str, typer.Argument(help=N_("A YAML file, or the name of a preset."), metavar="CONFIG")
]
RunName = Annotated[str, typer.Argument(help=N_("Name or folder of a run, or `last`."), metavar="RUN")]


def demo(
    sets: Sets = None, runs: Runs = "runs", no_tui: NoTui = False, json: Json = False, detach: Detach = False
) -> None:
    """Fine-tune the small model inside this package on the data inside this package."""
    raise typer.Exit(
        train(_new(RunStore(runs), _config("demo", sets, runs)), no_tui=no_tui, json=json, detach=detach)
    )


def run(
    config: ConfigPath,
    sets: Sets = None,
    runs: Annotated[str | None, typer.Option("--runs", help=N_("Folder that holds the runs."))] = None,
    no_tui: NoTui = False,
    json: Json = False,
    detach: Detach = False,
    resume_if_possible: Annotated[
        bool,
        typer.Option("--resume-if-possible", help=N_("Continue the run of this name, if there is one.")),
    ] = False,
) -> None:
    """Train what a config describes."""
    made = _config(config, sets, runs)
    store = RunStore(made.output.folder)
    if resume_if_possible:
        folder, going_on = _same_name(store, made)
        raise typer.Exit(train(folder, going_on, no_tui=no_tui, json=json, detach=detach))
    raise typer.Exit(train(_new(store, made), no_tui=no_tui, json=json, detach=detach))


def resume(
    run: RunName,
    runs: Runs = "runs",
    no_tui: NoTui = False,
    json: Json = False,
    detach: Detach = False,
    sets: Sets = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help=N_("Agree to run the code that comes with the model.")),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help=N_("Take over a run that another machine seems to train.")),
    ] = False,
) -> None:
    """Continue a run from its last checkpoint."""
    folder = RunStore(runs).find(run)
    if force and folder.elsewhere():
        folder.disown()
    _check_resumable(folder)
    _ask_consent(folder, trust_remote_code)
    if sets:
        _edit(folder, sets)
    raise typer.Exit(train(folder, going_on=True, no_tui=no_tui, json=json, detach=detach))


def begin(config: RunConfig, *, no_tui: bool, json: bool, detach: bool) -> int:
    """Train a config in a run folder of its own; the exit code."""
    return train(_new(RunStore(config.output.folder), config), no_tui=no_tui, json=json, detach=detach)


def train(folder: RunFolder, going_on: bool = False, *, no_tui: bool, json: bool, detach: bool) -> int:
    """Train in the host that fits: a child, the screen's thread, or this process without a screen."""
    if detach:
        return _detached(folder, going_on, json)
    from tui_tuner.cli.screen import can_show

    if not no_tui and not json and can_show():
        return _on_screen(folder, going_on)
    return _headless(folder, going_on, json)


def _on_screen(folder: RunFolder, going_on: bool) -> int:
    from tui_tuner.cli.screen import show

    return show(RunStore(folder.path.parent), folder, train=True, resume=going_on)


def _headless(folder: RunFolder, going_on: bool, json: bool) -> int:
    from tui_tuner.cli.telling import TellingPrinter
    from tui_tuner.headless import Follower, RawPrinter, writer
    from tui_tuner.inference.leads import lead_lines
    from tui_tuner.launch.host import host
    from tui_tuner.launch.output import captured
    from tui_tuner.launch.signals import install
    from tui_tuner.runs.control import Control

    control = Control(folder.control)
    install(control)
    with captured(folder.log) as terminal:
        write = writer(terminal.out)
        printer = RawPrinter(write) if json else TellingPrinter(write, terminal.out, folder)
        follower = Follower(folder.events, printer, from_end=True)
        if not json:
            write(_("run folder {path}", path=one_line(folder.path)))
        follower.start()

        def end(code: int) -> None:
            follower.finish(1.0)
            os._exit(code)

        try:
            ended = host(folder, control, going_on, end)
            if not folder.events.exists() and ended.message:
                write(one_line(ended.message))  # nobody can read it in the run's folder
        finally:
            follower.finish()
        if not json and ended.exit_code == 0:
            write.lines(lead_lines(folder, folder.config().task_kind))
        return ended.exit_code


def _detached(folder: RunFolder, going_on: bool, json: bool) -> int:
    from tui_tuner.inference.leads import runs_option
    from tui_tuner.launch.child import start_detached

    pid = start_detached(folder, going_on, lambda words: typer.echo(words, err=True))
    if json:
        import orjson

        typer.echo(orjson.dumps({"run": folder.name, "folder": str(folder.path), "pid": pid}).decode())
    else:
        name, runs = one_line(folder.name), one_line(runs_option(folder))
        typer.echo(_("run {name} goes on in the background (pid {pid})", name=name, pid=pid))
        typer.echo(_("watch it  tui-tuner attach {name}{runs_option}", name=name, runs_option=runs))
        typer.echo(_("stop it   tui-tuner stop {name}{runs_option}", name=name, runs_option=runs))
    return 0


def _config(name: str, sets: list[str] | None, runs: str | None) -> RunConfig:
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.config.values import with_values

    config = load_config(find_preset(name), sets or (), say_aside)
    return config if runs is None else with_values(config, {"output.folder": runs})


def _new(store: RunStore, config: RunConfig) -> RunFolder:
    """A run folder, once nothing is known to be wrong with the config."""
    from tui_tuner.launch.beforehand import check_beforehand

    check_beforehand(config)
    return store.create(config)


def _same_name(store: RunStore, config: RunConfig) -> tuple[RunFolder, bool]:
    """The run of the config's own name: a new one, or the old one to go on with."""
    name = config.output.name
    if name == "auto":
        raise ConfigError(
            _("--resume-if-possible needs a run with a name."),
            where="output.name",
            hint=_("Add --set output.name=my-run"),
        )
    folder = RunFolder(store.root / name)
    if not (folder.path / "config.yaml").is_file():
        return _new(store, config), False
    if folder.state() == "completed":
        raise typer.Exit(0)
    from tui_tuner.config import consent

    consent.remember(config.model)  # the config is the user's own
    _name_changes(folder, config)
    return folder, True


def _name_changes(folder: RunFolder, config: RunConfig) -> None:
    """Say so if the config asks for something else than the run it goes on with, which keeps its own."""
    from tui_tuner.config.load import absolute_paths
    from tui_tuner.config.options import get_value, options

    asked = absolute_paths(config)
    own = folder.config()
    changed = [
        name
        for name in options()
        if not name.startswith("output.") and get_value(asked, name) != get_value(own, name)
    ]
    if changed:
        typer.echo(
            _(
                "{name} goes on with its own config; what differs here is not used: "
                "{changed}. For a new config, choose another output.name.",
                name=one_line(folder.name),
                changed=", ".join(changed),
            ),
            err=True,
        )


def _edit(folder: RunFolder, sets: list[str]) -> None:
    """Change the config of a run, as an editor would, if the run can take it on its way."""
    from tui_tuner.config.load import absolute_paths, dump_config, load_config
    from tui_tuner.runs.secrets import refuse_secrets
    from tui_tuner.training.resuming import check_edits

    if folder.alive():
        raise UsageError(
            _("is running, and its config cannot be changed now."),
            where=one_line(folder.name),
            hint=_("Stop it first: `tui-tuner stop {name}`", name=one_line(folder.name)),
        )
    config = absolute_paths(load_config(folder.path / "config.yaml", sets, say_aside))
    check_edits(folder, config)
    text = dump_config(config)
    refuse_secrets(text, "config")
    folder.write("config.yaml", text)


def _ask_consent(folder: RunFolder, agreed: bool) -> None:
    """The user's word for the code of the run's model, if it asks for any and they have not given it."""
    from tui_tuner.cli.screen import can_show
    from tui_tuner.config import consent
    from tui_tuner.launch.host import require_consent

    config = folder.config()
    if consent.allowed(config.model):
        return
    if not agreed and can_show():
        question = _(
            "{name} runs code that comes with the model {model}, and you have not agreed to that here. "
            "Run it?",
            name=one_line(folder.name),
            model=one_line(config.model.name, 120),
        )
        agreed = typer.confirm(question)
    if agreed:
        consent.remember(config.model)
    require_consent(folder, config)


def _check_resumable(folder: RunFolder) -> None:
    if folder.state() == "completed":
        raise UsageError(
            _("has completed; there is nothing left to do."),
            where=one_line(folder.name),
            hint=_("To train further, start a new run from its model in `last`."),
        )
