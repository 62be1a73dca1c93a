"""`output.notify`: how places are written, and that no address gets further than the user's own config."""

from __future__ import annotations

import json

import pytest

from tui_tuner.config.load import apply_config_sets, build_config, dump_config
from tui_tuner.config.notices import fill_notify_entry, mask_notify_addresses, mask_notify_entry
from tui_tuner.config.options import list_options
from tui_tuner.config.yamltext import parse_yaml
from tui_tuner.errors import ConfigError
from tui_tuner.ui.form_values import format_field_value, parse_field_text

HOOK = "https://hooks.example.com/services/T0001/B0002/d34db33fd34db33f"


def notify(written: str) -> list[str]:
    """What a setting on the command line becomes."""
    values: dict[str, object] = {}
    apply_config_sets(values, [f"output.notify={written}"])
    return build_config(values).output.notify


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        ("bell", ["bell"]),
        ("[bell, desktop, bell]", ["bell", "desktop"]),
        ("bell, ntfy:my_runs-1", ["bell", "ntfy:my_runs-1"]),
        (f"desktop {HOOK}?wait=1,2", ["desktop", f"{HOOK}?wait=1,2"]),
        ("ntfy:https://ntfy.example.org/runs", ["ntfy:https://ntfy.example.org/runs"]),
        ("http://127.0.0.1:8080/hook", ["http://127.0.0.1:8080/hook"]),
        ("'${HOOK}'", ["${HOOK}"]),
        ("'ntfy:${TOPIC}'", ["ntfy:${TOPIC}"]),
        ("'https://${HOST}/${PATH_}'", ["https://${HOST}/${PATH_}"]),
        ("null", []),
        ("[]", []),
    ],
)
def test_a_setting_names_places_and_a_file_keeps_them(written: str, entries: list[str]) -> None:
    assert notify(written) == entries
    config = build_config({"output": {"notify": entries}})
    again = build_config(parse_yaml(dump_config(config))[0])
    assert again.output.notify == entries


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("buzzer", "is not bell, desktop, ntfy:TOPIC"),
        ("mailto:me@example.com", "is not bell"),
        ("file:///etc/passwd", "is not bell"),
        ("ntfy:a/b", "has no valid ntfy topic"),
        ("ntfy:https://ntfy.sh/", "has no valid ntfy topic"),
        ("ntfy:ftp://ntfy.sh/x", "is not a valid URL"),
        ("'https://'", "is not a valid URL"),
        ("'https://[::1'", "is not a valid URL"),
        ('["https://a.example/x y"]', "contains a space"),
        ("'https://a.example/${'", "write ${NAME}"),
        ("5", "expected a list, bell or desktop, got 5"),
    ],
)
def test_what_is_no_place_is_refused_without_its_whole_address(written: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        notify(written)
    assert says in str(caught.value) and caught.value.field == "output.notify"


def test_a_misspelt_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"output": {"notify": [HOOK.replace("https", "htps")]}})
    assert "d34db33f" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        "bell",
        "${HOOK}",
        "ntfy:secret-topic",
        "ntfy:https://me:pass@ntfy.example.org:8443/secret-topic",
        HOOK,
        "https://[2001:db8::1]:8080/secret?token=secret",
        "https://${HOST}/secret",
    ],
)
def test_what_is_shown_of_a_place_is_one_itself_and_no_secret(entry: str) -> None:
    shown = mask_notify_entry(entry)
    for secret in ("secret", "d34db33f", "pass", "T0001"):
        assert secret not in shown
    assert mask_notify_entry(shown) == shown
    config = build_config({"output": {"notify": [shown]}})
    values = mask_notify_addresses({"output": {"notify": [entry]}, "task": "sft"})
    assert values == {"output": {"notify": config.output.notify}, "task": "sft"}
    assert json.dumps(values)


def test_variables_are_filled_in_and_missing_ones_named() -> None:
    assert fill_notify_entry("https://${A}/${B}", {"A": "h.example", "B": " b \n"}) == (
        "https://h.example/b",
        [],
    )
    assert fill_notify_entry("ntfy:${TOPIC}", {"TOPIC": ""}) == ("ntfy:", ["TOPIC"])


def test_the_form_shows_nothing_for_nobody_and_takes_a_line_of_places() -> None:
    option = list_options()["output.notify"]
    assert format_field_value(option.default) == "" and parse_field_text(option, "") == []
    typed = parse_field_text(option, "bell, ntfy:my-runs")
    assert build_config({"output": {"notify": typed}}).output.notify == ["bell", "ntfy:my-runs"]
    assert parse_field_text(option, "[bell, desktop]") == ["bell", "desktop"]
    assert format_field_value(["bell", "ntfy:my-runs"]) == "[bell, 'ntfy:my-runs']"
