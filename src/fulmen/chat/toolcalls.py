"""Grammars for replies: tool calls that fit their tools' schemas, and answers that fit a JSON schema.

The text made here is a Lark grammar as `llguidance` reads it; the engine compiles it, nothing here imports it. The
thinking is part of the grammar and free in it, so that a constraint holds for what follows, however the thinking
ended: byte by byte, also where one token closes the thinking and goes on.

Calls have one spelling, that of Python's `json.dumps`, one call a line: the form the model was trained on. Thus
`parser` may pass arguments on while they grow. No endless white space is possible.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fulmen.chat.message import ToolSpec
from fulmen.chat.reply_format import CALLS_CLOSE, CALLS_OPEN, THINK_CLOSE, THINK_OPEN
from fulmen.chat.schema import check_schema, for_grammar
from fulmen.trace import Grammar

GrammarThinking = Literal["none", "optional", "open"]
"""What of thinking the reply may hold: none, some before the rest, or it begins inside the thinking."""

_PLAIN = {"type", "properties", "required", "title", "description", "$schema", "$defs", "definitions"}
"""Keywords of a schema that names all the arguments there are, or leaves open whether it does."""
_SPACED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolChoice:
    """Whether the model may, must or must not call tools.

    Example: `ToolChoice(mode="named", name="get_weather")` makes it call this tool, once.
    """

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None

    @classmethod
    def from_openai(cls, value: object) -> "ToolChoice":
        """Read `tool_choice` of a request, of the chat form or the flat Responses form; None is auto.

        Raises:
            ValueError: it is neither a known word nor a function's name.
        """
        if value is None:
            return cls()
        if value == "auto" or value == "none" or value == "required":
            return cls(mode=value)
        if isinstance(value, Mapping) and value.get("type", "function") == "function":
            function = value.get("function", value)
            name = function.get("name") if isinstance(function, Mapping) else None
            if isinstance(name, str):
                return cls(mode="named", name=name)
        raise ValueError(
            f"tool_choice is {value!r:.80}; it must be auto, none, required, or "
            '{"type": "function", "function": {"name": ...}}'
        )


AUTO = ToolChoice()
_BLANK = r"[ \t\r\n]*"


def tool_grammar(
    tools: Sequence[ToolSpec],
    choice: ToolChoice = AUTO,
    *,
    parallel: bool = True,
    thinking: GrammarThinking = "none",
    schema: Mapping[str, Any] | None = None,
) -> Grammar | None:
    """Constrain a reply to the calls that `choice` allows, and its text to `schema` if there is one.

    - auto: free text; once it opens `<tool_calls>`, good calls must follow, and then the end.
    - none: free text in which `<tool_calls>` can't be opened. The tools stay in the prompt, whose beginning then
      still equals that of the turns before and is found in the prefix store.
    - required: at least one call and nothing else.
    - named: one call of this tool and nothing else.

    Args:
        tools: the tools of the request.
        choice: see above.
        parallel: False allows one call only.
        thinking: what may stand before.
        schema: JSON schema of the text where there is text; calls may still be made instead.

    Returns:
        None when nothing is constrained: no tools and no schema.

    Raises:
        ValueError: tools are asked for and there are none, the named one is not among them, or a schema is wrong.
    """
    _check(tools, choice, schema)
    if not tools and schema is None:
        return None
    must_call = choice.mode in ("required", "named")
    text = "json" if schema is not None else "TEXT"
    answers = [] if must_call else [text]
    rules = _thinking_rules(thinking)
    if tools and choice.mode != "none":
        wanted = [tool for tool in tools if choice.mode != "named" or tool.name == choice.name]
        rules += _call_rules(wanted, several=parallel and choice.mode != "named")
        # In free text the opening tag is found by reading on; elsewhere it can only come first.
        answers.append("opening calls" if answers == ["TEXT"] else f"{_quoted(CALLS_OPEN)} calls")
    not_thinking = f" & ~/{_BLANK}{THINK_OPEN}(?s:.*)/" if thinking == "optional" else ""
    if "TEXT" in answers:
        rules.append(f"TEXT: /(?s:.*)/ & ~/(?s:.*){CALLS_OPEN}(?s:.*)/{not_thinking}")
    if "opening calls" in answers:
        rules += [f"opening[suffix={_quoted(CALLS_OPEN)}]: BEFORE", f"BEFORE: /(?s:.*)/{not_thinking}"]
    if "json" in answers:
        rules.append("json: %json " + json.dumps({**for_grammar(schema), "x-guidance": _SPACED}))
    return Grammar(kind="lark", source="\n".join([*rules, f"answer: {' | '.join(answers)}", ""]))


def json_grammar(schema: Mapping[str, Any], *, thinking: GrammarThinking = "none") -> Grammar:
    """Constrain a reply's text to a JSON schema; ValueError if the schema is wrong."""
    grammar = tool_grammar((), schema=schema, thinking=thinking)
    assert grammar is not None
    return grammar


def response_schema_from_openai(value: object, where: str = "response_format") -> dict[str, Any] | None:
    """Read `response_format` of a chat request, or `text.format` of a Responses request; None for plain text.

    Raises:
        ValueError: the format is unknown, or its schema is missing or wrong; `where` begins the message.
    """
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and kind == "text":
        return None
    if isinstance(value, Mapping) and kind == "json_object":
        return {"type": "object"}
    if isinstance(value, Mapping) and kind == "json_schema":
        holder = value.get("json_schema", value)
        schema = holder.get("schema") if isinstance(holder, Mapping) else None
        nested = "json_schema" in value or where == "response_format"
        place = f"{where}.json_schema.schema" if nested else f"{where}.schema"
        if not isinstance(schema, Mapping):
            raise ValueError(f"{place} must be a JSON schema (an object)")
        check_schema(schema, place, strict=True)
        return dict(schema)
    raise ValueError(f"{where}.type is {kind!r:.80}; it must be text, json_object or json_schema")


def _check(tools: Sequence[ToolSpec], choice: ToolChoice, schema: Mapping[str, Any] | None) -> None:
    names = [tool.name for tool in tools]
    if choice.mode == "named" and choice.name not in names:
        raise ValueError(
            f"tool_choice names {choice.name!r}, which is not among the tools: {', '.join(names) or 'none'}"
        )
    if choice.mode == "required" and not tools:
        raise ValueError("tool_choice is required but there are no tools")
    if schema is not None:
        check_schema(schema, "schema", strict=True)
    for index, tool in enumerate(tools):
        check_schema(tool.parameters, f"tools[{index}].parameters", strict=tool.strict)
        if tool.parameters.get("type", "object") != "object":
            raise ValueError(f"tools[{index}].parameters.type is {tool.parameters['type']!r}; it must be 'object'")


def _thinking_rules(thinking: GrammarThinking) -> list[str]:
    """The start rule, and the thinking before the answer: any text up to the first closing tag."""
    if thinking == "none":
        return ["start: answer"]
    opening = f"{_BLANK}{THINK_OPEN}" if thinking == "optional" else ""
    return [
        f"start: {'(thinking)?' if thinking == 'optional' else 'thinking'} answer",
        "thinking: thoughts GAP",
        f"thoughts[suffix={_quoted(THINK_CLOSE)}]: /{opening}(?s:.*)/",
        r"GAP: /[ \t\r\n]{0,4}/",
    ]


def _call_rules(tools: Sequence[ToolSpec], *, several: bool) -> list[str]:
    """The block after its opening tag; a rule for each tool, its schema read leniently unless it asks to be strict:
    schemas come from anywhere. Arguments that a schema neither names nor allows are not offered: by the letter of
    JSON schema they would fit, and tools refuse them.
    """
    rules = [
        rf'calls: "\n" {"(call)+" if several else "call"} {_quoted(CALLS_CLOSE)}',
        f'call: ({" | ".join(f"call_{index}" for index in range(len(tools)))}) "\\n"',
    ]
    for index, tool in enumerate(tools):
        head = json.dumps(f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "arguments": ')
        schema = for_grammar(tool.parameters)
        named = schema.get("properties")
        if named is not None and schema.keys() <= _PLAIN and set(schema.get("required", ())) <= set(named):
            schema["additionalProperties"] = False
        parameters = {"type": "object", **schema, "x-guidance": {**_SPACED, "lenient": not tool.strict}}
        rules.append(f'call_{index}: {head} %json {json.dumps(parameters)} "}}"')
    return rules


def _quoted(text: str) -> str:
    return json.dumps(text)
