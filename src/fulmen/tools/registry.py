"""The tools that a model is offered, and the calls that it makes of them.

    call -> look up -> check arguments -> run (time limit) -> text -> cut to the budget -> ToolResult

Whatever goes wrong on the way ends as a result that says so: a model's mistake must not end the conversation.
Only the caller's own cancellation passes through.
"""

import asyncio
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from fulmen.chat.message import ToolCall, ToolSpec
from fulmen.chat.schema import check_schema
from fulmen.tools.content import CountTokens, as_text, cut, estimate_tokens
from fulmen.tools.threads import in_thread
from fulmen.tools.tool import Tool, ToolError, ToolResult

DEFAULT_TIMEOUT = 60.0
DEFAULT_RESULT_TOKENS = 4000
_MOST_COMPLAINTS = 5
_MAX_NAME = 64  # OpenAI's limit
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")
# Schemas come from anywhere, and so do their patterns: this engine matches in a time linear in the text, where Python's
# may never end. The time also grows with the pattern: one that is compiled to more bytes than this is refused.
_PATTERNS = RegexOptions(size_limit=4 << 20)


class ToolRegistry:
    """Tools by name.

    Example::

        registry = ToolRegistry([calculator(), tool_from_function(get_weather)])
        client.chat(messages, tools=registry.specs())
        results = await registry.call_all(reply.tool_calls)
        messages += [result.message() for result in results]
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_result_tokens: int = DEFAULT_RESULT_TOKENS,
        count_tokens: CountTokens = estimate_tokens,
        max_parallel: int = 8,
    ) -> None:
        """Offer tools.

        Args:
            tools: see `add`.
            timeout: seconds for a call of a tool that has no limit of its own.
            max_result_tokens: a longer result is cut in its middle; JSON stays JSON, with shorter texts and lists.
            count_tokens: the model's own count; three bytes count as a token without it.
            max_parallel: so many calls run at once; the others wait.
        """
        if max_result_tokens < 50:
            raise ValueError(f"max_result_tokens is {max_result_tokens}; it must be at least 50")
        if timeout <= 0 or max_parallel < 1:
            raise ValueError(f"timeout is {timeout} and max_parallel {max_parallel}; both must be positive")
        self._tools: dict[str, Tool] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        self._timeout = timeout
        self._max_result_tokens = max_result_tokens
        self._count_tokens = count_tokens
        self._running = asyncio.Semaphore(max_parallel)
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool, *, source: str = "") -> str:
        """Offer a tool.

        Args:
            tool: what to offer.
            source: where it comes from, a word to tell it from another tool of the same name by.

        Returns:
            The name under which it is offered: its own, with the source before it (`github_search`) if that name is
            taken already, with `_` for letters that no model may write, and at most 64 letters.

        Raises:
            ValueError: the name is taken and the source does not help, or the schema is wrong; it says where.
        """
        name = self._free_name(tool.name, source)
        check_schema(tool.parameters, f"{name}.parameters")
        if tool.parameters.get("type", "object") != "object":
            raise ValueError(f"{name}.parameters.type is {tool.parameters['type']!r}; it must be 'object'")
        self._validators[name] = _validator(tool.parameters, f"{name}.parameters")
        self._tools[name] = tool
        return name

    def remove(self, name: str) -> None:
        """Offer a tool no longer; KeyError if there is none of this name."""
        del self._tools[name], self._validators[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which tools are offered, in the order of their coming."""
        return tuple(self._tools)

    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the model is told of them."""
        return tuple(
            ToolSpec(name=name, description=tool.description, parameters=tool.parameters)
            for name, tool in self._tools.items()
        )

    def is_dangerous(self, name: str) -> bool:
        """Whether a human is to confirm calls of this tool; an unknown one can do no harm, since it can't run."""
        return name in self._tools and self._tools[name].dangerous

    def arguments(self, call: ToolCall) -> dict[str, Any]:
        """The arguments of a call, checked against the tool's schema.

        Raises:
            ToolError: there is no such tool, or the arguments are no JSON object or don't fit; it names the places,
                as in `arguments.city: 3 is not of type "string"`.
        """
        if call.name not in self._tools:
            raise ToolError(self._unknown(call.name))
        arguments = _read(call.arguments)
        try:
            errors = sorted(
                self._validators[call.name].iter_errors(arguments),
                key=lambda error: list(map(str, error.instance_path)),
            )
        except UnicodeEncodeError:
            raise ToolError("the arguments hold half a character, as in \\ud83d; write characters in whole") from None
        except ValueError:  # the validator's limit
            raise ToolError("the arguments are nested too deep") from None
        if errors:
            raise ToolError("; ".join(dict.fromkeys(map(_complaint, errors[:_MOST_COMPLAINTS]))))
        return arguments

    async def call(self, call: ToolCall) -> ToolResult:
        """Make a call. It raises nothing but `asyncio.CancelledError`, when the caller is cancelled."""
        try:
            arguments = self.arguments(call)
            async with self._running:
                text = await self._run(call.name, arguments)
        except ToolError as error:
            return ToolResult(call=call, content=await self._cut(as_text(f"Error: {error}")), failed=True)
        return ToolResult(call=call, content=await self._cut(text))

    async def call_all(self, calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
        """Make the calls of one reply side by side; results in the order of the calls."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.call(call)) for call in calls]
        return tuple(task.result() for task in tasks)

    async def _run(self, name: str, arguments: dict[str, Any]) -> str:
        tool = self._tools[name]
        seconds = self._timeout if tool.timeout is None else tool.timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                value = await tool.run(arguments)
                return await in_thread(partial(as_text, value))  # what is huge or odd must not hold up the others
        except ToolError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ToolError(f"{name} was interrupted") from None
        except (Exception, SystemExit) as error:
            if limit.expired() and isinstance(error, TimeoutError):
                raise ToolError(f"{name} did not finish within {seconds:g} seconds and is not waited for") from None
            raise ToolError(f"{name} failed: {_reason(error)}") from error

    async def _cut(self, text: str) -> str:
        return await in_thread(partial(cut, text, self._max_result_tokens, self._count_tokens))

    def _unknown(self, name: str) -> str:
        if not self._tools:
            return f"there is no tool {name!r:.80}; there are no tools at all, answer without one"
        near = difflib.get_close_matches(name, self._tools, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"there is no tool {name!r:.80}; {hint}The tools are: {', '.join(self._tools)}"

    def _free_name(self, name: str, source: str) -> str:
        names = [_FORBIDDEN.sub("_", text)[:_MAX_NAME] for text in (name, f"{source}_{name}") if name]
        for candidate in names[: 2 if source else 1]:
            if candidate not in self._tools:
                return candidate
        if not name:
            raise ValueError("a tool needs a name")
        advice = "give the other's source another word" if source else "say where this one comes from"
        raise ValueError(f"there is a tool {names[-1 if source else 0]} already; {advice}")


def _read(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON value")

    try:
        arguments = json.loads(text or "{}", parse_constant=refuse)
    except RecursionError:
        raise ToolError("the arguments are nested too deep") from None
    except ValueError as error:
        raise ToolError(f"the arguments are no valid JSON: {error}; write them as one JSON object") from None
    if not isinstance(arguments, dict):
        raise ToolError(f"the arguments must be one JSON object, as in {{}}, not {text:.60}")
    return arguments


def _complaint(error: ValidationError) -> str:
    message = error.message if len(error.message) <= 300 else f"{error.message[:200]} ... {error.message[-80:]}"
    return f"{_place('arguments', error)}: {message}"


def _validator(schema: Mapping[str, Any], where: str) -> Draft202012Validator:
    try:
        # Unless it is offline, the validator fetches what a schema refers to from anywhere.
        return Draft202012Validator({"type": "object", **schema}, pattern_options=_PATTERNS, offline=True)
    except ValidationError as error:
        hint = ", or one that is too large" if error.kind.name == "format" else ""  # regular expressions only
        raise ValueError(f"{_place(where, error)} is no JSON schema: {error.message:.200}{hint}") from None


def _place(root: str, error: ValidationError) -> str:
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
