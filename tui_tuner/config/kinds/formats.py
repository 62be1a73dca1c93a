"""The record formats that `data.format` may name, and the roles that `data.columns` may give a column.

A record format is one entry here and the module of the same name in `data.formats`.
"""

from __future__ import annotations

from tui_tuner.locales import N_

RECORD_FORMATS: dict[str, str] = {
    "auto": N_("detect the format"),
    "alpaca": N_("instruction, input, output"),
    "sharegpt": N_("conversations with from/value"),
    "messages": N_("OpenAI messages with role/content"),
    "transcript": N_("one text with Human: and Assistant:"),
    "turns": N_("one turn per row"),
    "tree": N_("a message with replies"),
    "prompt_response": N_("one prompt column, one answer column"),
    "translation": N_("one text in two languages"),
    "chatglm": N_("prompt, response, history"),
    "preference": N_("chosen and rejected answers"),
    "kto": N_("an answer and whether it is good"),
    "text": N_("plain text"),
    "text_label": N_("text and a class"),
    "sentence_pair": N_("two sentences, with or without a label"),
    "token_tags": N_("tokens and their tags"),
    "qa": N_("question, context, answers"),
}

# Roles that `data.columns` may give a column, each with a description of what the column holds
ROLES: dict[str, str] = {
    "prompt": N_("what the model is asked"),
    "response": N_("the answer it learns to give"),
    "input": N_("additional input: a context, or a text to work on"),
    "system": N_("the system message"),
    "history": N_("earlier questions and answers of the same chat"),
    "tools": N_("the tools that the model may call"),
    "messages": N_("a whole chat: a list of turns"),
    "chosen": N_("the better answer"),
    "rejected": N_("the worse answer"),
    "good": N_("true for a good answer, false for a bad one"),
    "text": N_("the text"),
    "pair": N_("the second text of a pair"),
    "label": N_("the class of the text, or a number"),
    "tokens": N_("a list of words"),
    "tags": N_("one tag for each word"),
    "question": N_("the question"),
    "context": N_("the text that contains the answer"),
    "answers": N_("the answers, each with the position where it begins"),
    "translation": N_("an object with a text in each language"),
    "role": N_("who speaks: user, assistant or system"),
    "content": N_("the text of the turn"),
    "conversation": N_("the chat that the turn belongs to"),
}
