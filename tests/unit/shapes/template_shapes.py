"""About a hundred chat templates of the shapes that public ones have, in our own words.

A shape is a frame (how turns begin and end), a way to treat reasoning, and a way to treat tools: not each
with each, but each with several others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from template_parts import BEFORE, OPEN, Frame, Shape, Thinking, Tools, compose, raises

# ---- frames -----------------------------------------------------------------------------------------------

_ALTERNATE = (
    "{% set at = loop.index0 - (1 if messages[0].role == 'system' else 0) %}"
    "{% if at >= 0 and m.role in ('user', 'assistant') and (m.role == 'user') != (at % 2 == 0) %}"
    + raises("Questions and answers have to take turns")
    + "{% endif %}"
)
_DATED = "<|rule|>\nToday is {{ strftime_now('%d %B %Y') }}.<|over|>\n"
_BETWEEN = "{% if not loop.last %}<|over|>\n{% endif %}"

PLAIN = Frame("plain")
TWO_ENDS = Frame("two ends", header="<|bot|><|say|>", stop="<|said|><|over|>", after="")
BETWEEN = Frame(
    "stop between",
    user="<|ask|>\nC" + _BETWEEN,
    rule="<|rule|>\nC" + _BETWEEN,
    stop="{% if not loop.last %}<|over|>{% endif %}",
    after="{% if not loop.last %}\n{% endif %}",
    prompt="<|over|>\n<|bot|>\n",
    turn_end=_BETWEEN,
)
TWO_STOPS = Frame(
    "another stop at the end",
    user="<|open|>ask<|text|>C<|over|>",
    rule="<|open|>rule<|text|>C<|over|>",
    header="<|open|>bot",
    lead="<|text|>",
    stop="{% if loop.last %}<|done|>{% else %}<|over|>{% endif %}",
    after="",
    eos="<|done|>",
)
NEXT_HEADER = Frame(
    "the next header stops",
    user="{% if loop.index0 and " + BEFORE + " == 'assistant' %}⟨<|ask|>⟩{% else %}<|ask|>{% endif %}\nC",
    rule="<|rule|>\nC",
    stop="",
    after="",
    turn_end="",
    eos="<|done|>",
    ends=("<|ask|>",),
)
BARE = Frame(
    "no prompt",
    bos="{{ bos_token }}",
    user="[ASK] C [/ASK]",
    rule="[RULE]C[/RULE]",
    header="",
    prompt="",
    lead=" ",
    stop=" {{ eos_token }}",
    after="",
    eos="</s>",
    trim="trim",
)
_PARTS_OR_TEXT = "m.content if m.content is string else m.content | map(attribute='text') | join"
FRAMES = (
    PLAIN,
    Frame("eos in words", user="Q: C\n", rule="C\n", header="A: ", stop="{{ eos_token }}", eos="</s>"),
    BARE,
    replace(BARE, name="system in the first question", system="first", check=_ALTERNATE),
    replace(BARE, name="system in the last question", system="last", lead="", stop="{{ eos_token }}"),
    replace(PLAIN, name="system refused", system="refused", bos="{{ bos_token }}", trim="trim"),
    replace(PLAIN, name="turns alternate", check=_ALTERNATE),
    TWO_ENDS,
    BETWEEN,
    TWO_STOPS,
    replace(PLAIN, name="eos at the end of all", end="<|done|>", eos="<|done|>", ends=("<|over|>",)),
    replace(PLAIN, name="own end, another eos", eos="<|done|>"),
    NEXT_HEADER,
    Frame("header unasked", user="ASKER: C ", rule="C ", header="TELLER: ", prompt="", stop="</s>", after=""),
    replace(PLAIN, name="header always", end="<|bot|>\n", after=""),
    replace(PLAIN, name="date", bos=_DATED),
    replace(PLAIN, name="generation tags", generation=True),
    replace(PLAIN, name="stop on a line of its own", stop="\n<|over|>", user="<|ask|>\nC\n<|over|>\n"),
    Frame("square end", user="[|ask|]C\n", rule="[|rule|]C[|over|]\n", header="[|bot|]", stop="[|over|]"),
    replace(PLAIN, name="the line break is the model's", trim="trim", header="<|bot|>", lead="\n"),
    replace(PLAIN, name="parts or text", content=_PARTS_OR_TEXT),
    replace(PLAIN, name="parts only", content="m.content[0].text"),
    replace(PLAIN, name="answers twice ended", stop="<|over|><|done|>", eos="<|done|>", ends=("<|over|>",)),
)

# ---- reasoning --------------------------------------------------------------------------------------------

_SPLIT = (
    "{% if '</think>' in c %}{% set t = c.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set c = c.split('</think>')[-1].lstrip() %}{% endif %}"
)
_BLOCK = "<think>\n{{ t }}\n</think>\n\n"


def _key(key: str) -> str:
    return "{% set t = m." + key + " or '' %}"


NO_THINKING = Thinking("")
THINKING = (
    *(
        Thinking(f"{key}", _key(key), OPEN + "{% if t %}" + _BLOCK + "{% endif %}")
        for key in ("reasoning_content", "reasoning", "thinking")
    ),
    Thinking(
        "only behind the last question",
        _key("reasoning_content") + _SPLIT,
        OPEN + "{% if t and loop.index0 > ns.last %}" + _BLOCK + "{% endif %}",
        inside=True,
    ),
    Thinking(
        "an empty thought",
        _key("reasoning_content") + _SPLIT,
        OPEN + "{% if loop.index0 > ns.last %}" + _BLOCK + "{% endif %}",
        inside=True,
    ),
    Thinking(
        "inside only",
        "{% set t = '' %}" + _SPLIT,
        OPEN + "{% if t %}<muse>{{ t }}</muse>{% endif %}",
        inside=True,
    ),
    Thinking("cut out", "{% set c = c.split('</think>')[-1].lstrip() %}", prompt="<think>\n", inside=True),
    Thinking(
        "opened by the prompt",
        _key("reasoning") + _SPLIT,
        "{% if t %}<think>\n⟦{{ t }}\n</think>\n\n{% else %}⟦{% endif %}",
        prompt="<think>\n",
        inside=True,
    ),
    Thinking(
        "closed without being opened",
        _key("reasoning_content") + _SPLIT,
        "{% if t %}<think>⟦{{ t }}</think>{% else %}⟨</think>⟩⟦{% endif %}",
        prompt="<think>",
        inside=True,
    ),
)

# ---- tools ------------------------------------------------------------------------------------------------

_LIST = "<|rule|>\nTools:{% for k in tools %}\n{{ k | tojson }}{% endfor %}<|over|>\n"
_EACH = "{% for k in m.tool_calls or [] %}"
_JSON = _EACH + "<call>{{ k.function | tojson }}</call>{% endfor %}"
_ITEMS = (
    _EACH + "<call>{{ k.function.name }}{% for a, v in k.function.arguments.items() %}"
    "<|arg|>{{ a }}={{ v }}{% endfor %}</call>{% endfor %}"
)
_TEXT = _EACH + "<call>{{ k.function.name + ' ' + k.function.arguments }}</call>{% endfor %}"
_RESULT = "<|result|>\nCEND"
_GROUPED = (
    "{% if " + BEFORE + " != 'tool' %}<|ask|>\n{% endif %}<result>C</result>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}END{% endif %}"
)
_IN_ORDER = (
    "{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls and "
    + BEFORE
    + " != 'tool' %}"
    + raises("A result needs a call before it")
    + "{% endif %}{% if loop.index0 and messages[loop.index0 - 1].tool_calls and m.role != 'tool' %}"
    + raises("A call needs a result behind it")
    + "{% endif %}"
)
_ONE_CALL = "{% if (m.tool_calls or []) | length > 1 %}" + raises("One call at a time") + "{% endif %}"

NO_TOOLS = Tools("")
TOOLS = (
    Tools("calls left out", _LIST),
    Tools("calls as JSON", _LIST, _JSON, _RESULT),
    Tools("calls item by item", _LIST, _ITEMS, _RESULT),
    Tools("arguments as text", _LIST, _TEXT, _RESULT),
    Tools("results in a question", _LIST, _JSON, _GROUPED),
    Tools("results in the answer", _LIST, _JSON, "<|result|>C<|/result|>", ends=False, inside=True),
    Tools("calls without a stop", _LIST, _JSON, _RESULT, ends=False),
    Tools("a header behind calls", _LIST, _JSON, _RESULT, behind="<|bot|>\n<|over|>\n"),
    Tools("in strict order", _LIST, _JSON, _RESULT, check=_IN_ORDER),
    Tools("one call at a time", _LIST, _ITEMS, _RESULT, check=_ONE_CALL),
    Tools("calls instead of words", _LIST, _JSON, _RESULT, drops_content=True),
    Tools("no tool role", result=raises("Only questions and answers")),
    Tools("calls unlisted", "", _JSON, "<|result|>{{ m.name }}\nCEND"),
)


def _shapes() -> Iterator[Shape]:
    for frame in FRAMES:
        yield compose(frame, NO_THINKING, NO_TOOLS)
    named = {frame.name: frame for frame in FRAMES}
    for number, thinking in enumerate(THINKING):
        # Where the prompt opens a thought, or an empty one is written, words of a template without a prompt
        # could be its header as well.
        frames = [
            PLAIN,
            BARE if number < 4 else named["generation tags"],
            BETWEEN if number % 2 else TWO_ENDS,
        ]
        for frame in (*frames, FRAMES[6 + number]):
            yield compose(frame, thinking, NO_TOOLS)
    others = [named[name] for name in ("eos in words", "turns alternate", "own end, another eos", "date")]
    for number, tools in enumerate(TOOLS):
        for frame in (PLAIN, TWO_ENDS if number % 2 else BETWEEN, others[number % len(others)]):
            yield compose(frame, THINKING[number % len(THINKING)] if number % 3 else NO_THINKING, tools)
    for tools in (TOOLS[1], TOOLS[5], TOOLS[8]):
        for frame in (TWO_STOPS, named["system in the last question"]):
            yield compose(frame, THINKING[0], tools)


def all_shapes() -> list[Shape]:
    """Each shape once."""
    return list({shape.name: shape for shape in _shapes()}.values())
