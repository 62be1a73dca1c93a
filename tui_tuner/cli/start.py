"""Commands that start or resume a run: `demo`, `run` and `resume`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Detach, Json, NoTui, Runs, Sets, print_to_stderr
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig  # pydantic takes 0.1 s, which `--help` should not cost

ConfigPath = Annotated[
    str, typer.Argument(help=N_("A YAML file, or the name of a preset."), metavar="CONFIG")
]
RunName = Annotated[str, typer.Argument(help=N_("Name or folder of a run, or `last`."), metavar="RUN")]


def run_demo(
    sets: Sets = None, runs: Runs = "runs", no_tui: NoTui = False, json: Json = False, detach: Detach = False
) -> None:
    """Fine-tune the small model of this package on the data of this package."""
    raise typer.Exit(
        train_run_folder(
            _create_folder(RunStore(runs), _load_run_config("demo", sets, runs)),
            no_tui=no_tui,
            json=json,
            detach=detach,
        )
    )


def run_config(
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
    made = _load_run_config(config, sets, runs)
    store = RunStore(made.output.folder)
    if resume_if_possible:
        folder, going_on = _find_same_name(store, made)
        raise typer.Exit(train_run_folder(folder, going_on, no_tui=no_tui, json=json, detach=detach))
    raise typer.Exit(train_run_folder(_create_folder(store, made), no_tui=no_tui, json=json, detach=detach))


def resume_run(
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
        typer.Option("--force", help=N_("Take over a run that another machine seems to be training.")),
    ] = False,
) -> None:
    """Continue a run from its last checkpoint."""
    folder = RunStore(runs).find_run(run)
    # Before the checks, which would refuse a run of another machine
    if force and folder.find_other_host():
        folder.forget_process()
    _check_resumable(folder)
    _ask_consent(folder, trust_remote_code)
    if sets:
        _change_config(folder, sets)
    raise typer.Exit(train_run_folder(folder, going_on=True, no_tui=no_tui, json=json, detach=detach))


def train_new_folder(config: RunConfig, *, no_tui: bool, json: bool, detach: bool) -> int:
    """Train a config in a new run folder; return the exit code."""
    return train_run_folder(
        _create_folder(RunStore(config.output.folder), config), no_tui=no_tui, json=json, detach=detach
    )


def train_run_folder(
    folder: RunFolder, going_on: bool = False, *, no_tui: bool, json: bool, detach: bool
) -> int:
    """Train in a background process, behind a screen, or in this process; return the exit code."""
    if detach:
        return _train_detached(folder, going_on, json)
    from tui_tuner.cli.screen import can_show_screen

    if not no_tui and not json and can_show_screen():
        return _train_on_screen(folder, going_on)
    return _train_headless(folder, going_on, json)


def _train_on_screen(folder: RunFolder, going_on: bool) -> int:
    from tui_tuner.cli.screen import show_screen

    return show_screen(RunStore(folder.path.parent), folder, train=True, resume=going_on)


def _train_headless(folder: RunFolder, going_on: bool, json: bool) -> int:
    from tui_tuner.cli.ringing_printer import RingingPrinter
    from tui_tuner.headless import Follower, RawPrinter, make_printer_writer
    from tui_tuner.inference.leads import format_leads
    from tui_tuner.launch.output_capture import capture_output
    from tui_tuner.launch.run_host import host_run
    from tui_tuner.launch.signals import install_signal_handlers
    from tui_tuner.runs.control import CommandReceiver

    control = CommandReceiver(folder.control_path)
    # From here on Ctrl+C ends the run in an orderly way, even while it is still loading
    install_signal_handlers(control)
    with capture_output(folder.log_path) as terminal:
        write = make_printer_writer(terminal.out)
        printer = RawPrinter(write) if json else RingingPrinter(write, terminal.out, folder)
        # Of a resumed run, only new events are printed
        follower = Follower(folder.events_path, printer, from_end=True)
        if not json:
            # Before the first event, so that the folder is known even if the start hangs
            write(_("run folder {path}", path=one_line(folder.path)))
        follower.start_following()

        def exit_process(code: int) -> None:
            follower.finish_following(1.0)
            # Called when the run does not end by itself: normal exit would wait for its threads
            os._exit(code)

        try:
            ended = host_run(folder, control, going_on, exit_process)
            if not folder.events_path.exists() and ended.message:
                # Without a journal, the message can be read nowhere else
                write(one_line(ended.message))
        finally:
            follower.finish_following()
        if not json and ended.exit_code == 0:
            write.write_lines(format_leads(folder, folder.load_config().task_kind))
        return ended.exit_code


def _train_detached(folder: RunFolder, going_on: bool, json: bool) -> int:
    from tui_tuner.inference.leads import format_runs_option
    from tui_tuner.launch.child import start_detached

    pid = start_detached(folder, going_on, lambda words: typer.echo(words, err=True))
    if json:
        import orjson

        typer.echo(orjson.dumps({"run": folder.name, "folder": str(folder.path), "pid": pid}).decode())
    else:
        name, runs = one_line(folder.name), one_line(format_runs_option(folder))
        typer.echo(_("run {name} is training in the background (pid {pid})", name=name, pid=pid))
        typer.echo(_("watch it  tui-tuner attach {name}{runs_option}", name=name, runs_option=runs))
        typer.echo(_("stop it   tui-tuner stop {name}{runs_option}", name=name, runs_option=runs))
    return 0


def _load_run_config(name: str, sets: list[str] | None, runs: str | None) -> RunConfig:
    from tui_tuner.config.load import load_config
    from tui_tuner.config.presets import find_preset
    from tui_tuner.config.values import edit_values

    config = load_config(find_preset(name), sets or (), print_to_stderr)
    return config if runs is None else edit_values(config, {"output.folder": runs})


def _create_folder(store: RunStore, config: RunConfig) -> RunFolder:
    """Create a run folder after checking the config."""
    from tui_tuner.launch.beforehand import check_beforehand

    # Before the folder is created, so that a mistake leaves no empty run behind
    check_beforehand(config)
    return store.create_run(config)


def _find_same_name(store: RunStore, config: RunConfig) -> tuple[RunFolder, bool]:
    """Return (run folder with the config's name, whether it exists and is to be continued)."""
    name = config.output.name
    if name == "auto":
        raise ConfigError(
            _("--resume-if-possible needs a run with a name."),
            where="output.name",
            hint=_("Add --set output.name=my-run"),
        )
    folder = RunFolder(store.root / name)
    if not (folder.path / "config.yaml").is_file():
        return _create_folder(store, config), False
    if folder.find_state() == "completed":
        # Schedulers start the same command again and again; a finished run is not an error for them
        raise typer.Exit(0)
    from tui_tuner.config import consent

    # The user named this config, so its model is trusted as in a new run
    consent.record_code_consent(config.model)
    _warn_of_differences(folder, config)
    return folder, True


def _warn_of_differences(folder: RunFolder, config: RunConfig) -> None:
    """Warn of fields in which a config differs from the run that it continues, as they are ignored."""
    from tui_tuner.config.load import make_paths_absolute
    from tui_tuner.config.options import get_config_value, list_options

    asked = make_paths_absolute(config)
    own = folder.load_config()
    changed = [
        name
        for name in list_options()
        if not name.startswith("output.") and get_config_value(asked, name) != get_config_value(own, name)
    ]
    if changed:
        typer.echo(
            _(
                "{name} continues with its own config; these differences are ignored: "
                "{changed}. For a new config, choose another output.name.",
                name=one_line(folder.name),
                changed=", ".join(changed),
            ),
            err=True,
        )


def _change_config(folder: RunFolder, sets: list[str]) -> None:
    """Change the config of a run before resuming it, if the changes are allowed."""
    from tui_tuner.config.load import dump_config, load_config, make_paths_absolute
    from tui_tuner.runs.secrets import refuse_secrets
    from tui_tuner.training.resuming import check_resumed_edits

    if folder.is_alive():
        raise UsageError(
            _("is running, so its config cannot be changed now."),
            where=one_line(folder.name),
            hint=_("Stop it first: `tui-tuner stop {name}`", name=one_line(folder.name)),
        )
    # The config in a run's folder must not depend on where a command was started
    config = make_paths_absolute(load_config(folder.path / "config.yaml", sets, print_to_stderr))
    check_resumed_edits(folder, config)
    text = dump_config(config)
    # A token given with --set would otherwise be stored in the run's folder
    refuse_secrets(text, "config")
    folder.write_file("config.yaml", text)


def _ask_consent(folder: RunFolder, agreed: bool) -> None:
    """Ask for consent to run the code of the run's model, if it has any and consent is missing."""
    from tui_tuner.cli.screen import can_show_screen
    from tui_tuner.config import consent
    from tui_tuner.launch.run_host import require_run_consent

    config = folder.load_config()
    if consent.is_code_allowed(config.model):
        return
    if not agreed and can_show_screen():
        question = _(
            "{name} runs code that comes with the model {model}, and you have not agreed to that on this "
            "machine. "
            "Run it?",
            name=one_line(folder.name),
            model=one_line(config.model.name, 120),
        )
        agreed = typer.confirm(question)
    if agreed:
        consent.record_code_consent(config.model)
    require_run_consent(folder, config)


def _check_resumable(folder: RunFolder) -> None:
    if folder.find_state() == "completed":
        raise UsageError(
            _("has completed; there is nothing left to do."),
            where=one_line(folder.name),
            hint=_("To continue training, start a new run from its model in `last`."),
        )
