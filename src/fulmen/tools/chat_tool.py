"""A model as a tool: another agent asks it something and gets the answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fulmen.chat.message import Message
from fulmen.tools.tool import Tool, ToolError

Ask = Callable[[tuple[Message, ...]], Awaitable[str]]
"""Messages to the text of the reply; ValueError where they can't be answered."""


def chat_tool(ask: Ask, model: str, *, timeout: float = 600.0) -> Tool:
    """Make a tool `chat` of a model.

    Example: `await chat_tool(ask, "spark").run({"message": "What is 17 + 25?"})` is what the model says to it.
    """

    async def run(arguments: Mapping[str, Any]) -> object:
        system = arguments.get("system") or ""
        before = (Message(role="system", content=system),) if system else ()
        try:
            return await ask((*before, Message(role="user", content=arguments["message"])))
        except ValueError as error:
            raise ToolError(str(error)) from error

    return Tool(
        name="chat",
        description=f"Ask the language model {model}. It remembers nothing of earlier questions.",
        parameters={
            "type": "object",
            "properties": {
                "message": {"type": "string", "description": "what to ask, with all that it needs to know"},
                "system": {"type": "string", "description": "how it shall behave"},
            },
            "required": ["message"],
            "additionalProperties": False,
        },
        run=run,
        timeout=timeout,
    )


def ask_endpoint(base_url: str, model: str, *, api_key: str | None = None) -> Ask:
    """Ask a model behind OpenAI's chat API, as `fulmen serve` offers it.

    Raises:
        RuntimeError: the package `openai` is missing.
    """
    try:
        import openai
    except ImportError:
        raise RuntimeError("an endpoint needs the package openai: pip install 'fulmen[agents]'") from None
    client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key or "none")

    async def ask(messages: tuple[Message, ...]) -> str:
        try:
            answer = await client.chat.completions.create(
                model=model,
                messages=[message.to_openai() for message in messages],  # type: ignore[misc]
            )
        except openai.OpenAIError as error:
            raise ValueError(f"{base_url} did not answer: {error}") from error
        return answer.choices[0].message.content or ""

    return ask
