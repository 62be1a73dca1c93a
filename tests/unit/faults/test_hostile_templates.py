"""Chat templates without an end: each ends in words, by counts that are the same on every machine."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase

from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError

TURN = [{"role": "user", "content": "hello"}]
ROUNDS = (
    "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = EXPR %}{% endfor %}{{ ns.x }}"
)


def rounds(start: str, expression: str) -> str:
    return ROUNDS.replace("START", start).replace("EXPR", expression)


ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "a loop that lets nothing through": "{% for i in range(99999) %}{% for j in range(99999) if false %}"
    "{% endfor %}{% endfor %}",
    "text times a number": "{% set n = 99999 %}{{ 'a' * (n * n) }}",
    "a tower of powers": "{{ 9 ** (9 ** 9) }}",
    "squares of squares": rounds("3", "ns.x * ns.x"),
    "text doubled by +": rounds("'a'", "ns.x + ns.x"),
    "text doubled by ~": rounds("'a'", "ns.x ~ ns.x"),
    "text doubled by a block": "{% set a = 'aaaa' %}"
    + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60
    + "{{ a }}",
    "text doubled by replace": rounds("'ab'", "ns.x.replace('a', ns.x)"),
    "lists of lists": "{% set a = ['a'] %}" + "{% set a = [a, a, a] %}" * 60 + "{{ a }}",
    "mappings of mappings": "{% set a = {} %}" + "{% set a = {'x': a, 'y': a} %}" * 60 + "{{ a | tojson }}",
    "namespaces of namespaces": "{% set a = namespace() %}"
    + "{% set a = namespace(x=a, y=a) %}" * 60
    + "{{ a }}",
    "two calls in each call": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(60) }}",
    "arguments of arguments": "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}"
    "{{ varargs }}{% endif %}{% endmacro %}{{ f(60, 1) }}",
    "a wide field": "{{ 'a'.center(1000000000) }}",
    "a wide filter": "{{ 'a' | center(1000000000) }}",
    "a wide format": "{{ '{:>{w}}'.format(1, w=1000000000) }}",
    "a wide per cent": "{{ '%*d' % (1000000000, 1) }}",
    "a long join": "{% set s = 'a' * 100000 %}{{ range(99999) | join(s) }}",
    "a long indent": "{{ ('\\n' * 100000) | indent(100000) }}",
    "many bytes": "{{ (5).to_bytes(1000000000, 'big') }}",
    "many decimals": "{{ 3 | round(1000000000, 'ceil') }}",
    "text in a loop": "{% for i in range(99999) %}" + "x" * 20_000 + "{% endfor %}",
}


def tokenizer(template: str) -> Any:
    made = PreTrainedTokenizerBase()
    made.chat_template = template
    return made


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_an_end_is_a_problem_of_the_row(name: str) -> None:
    with pytest.raises(RowProblem, match=r"does not end"):
        render_chat(tokenizer(ENDLESS[name]), TURN)


def test_one_that_comes_to_no_end_row_after_row_ends_the_reading() -> None:
    made = tokenizer("{{ 'b' * 10 ** 9 }}")
    for _unused in range(4):
        with pytest.raises(RowProblem):
            render_chat(made, TURN)
    with pytest.raises(ModelError) as ended:
        render_chat(made, TURN)
    assert ended.value.field == "model.chat_template"


def test_a_long_chat_may_cost_more_than_a_short_one() -> None:
    made = tokenizer(
        "{% for m in messages %}{% for other in messages %}{% if other.role == 'x' %}{% endif %}{% endfor %}"
        "{{ m.content }}{% endfor %}"
    )
    chat = [{"role": "user", "content": f"turn {number} " + "word " * 40} for number in range(400)]
    assert render_chat(made, chat) == "".join(turn["content"] for turn in chat)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages }}", str(TURN)),
        ("{{ messages[0].content[1:3] ~ 1 ~ none + '' if false else 'a' + 'b' + 'c' }}", "abc"),
        ("{{ messages[0].content[::-1] }}", "olleh"),
        ("{{ '%s-%d' % ('a', 3) }}{{ '{}{x}'.format(1, x=2) }}", "a-312"),
        (
            "{{ [1, 2] + [3] }}{{ ('a',) }}{{ {'k': messages[0].role} | tojson }}",
            '[1, 2, 3](\'a\',){"k": "user"}',
        ),
        (
            "{% for a, b in {'x': 1}.items() %}{{ loop.index }}{{ loop.last }}{{ a }}{{ b }}{% endfor %}",
            "1Truex1",
        ),
        ("{% set x %}{{ messages[0].content | trim | upper }}!{% endset %}{{ x }}{{ nothing }}", "HELLO!"),
        ("{{ range(3) | map('string') | join('-') }}{{ 7 // 2 }}{{ 2 ** 3 }}{{ 7 % 4 }}", "0-1-2383"),
        ("{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2) }}", "1(2,)"),
    ],
)
def test_ordinary_templates_write_what_they_wrote(template: str, text: str) -> None:
    assert render_chat(tokenizer(template), TURN) == text


@pytest.mark.parametrize("template", ["{% if a %}" + "{% elif b %}" * 3000 + "{% endif %}", "{% for %}"])
def test_a_template_that_cannot_be_compiled_costs_its_time_once(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    plain = ImmutableSandboxedEnvironment.from_string
    monkeypatch.setattr(
        ImmutableSandboxedEnvironment,
        "from_string",
        lambda *args, **kwargs: compiled.append(1) or plain(*args, **kwargs),
    )
    said = set()
    for _row in range(5):
        with pytest.raises(RowProblem) as caught:
            render_chat(tokenizer(template), TURN)
        said.add(str(caught.value))
    assert len(compiled) == 1 and len(said) == 1
