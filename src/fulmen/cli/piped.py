"""The chat without a terminal: each line of the input is a message, each reply is printed as it comes, and no more.

Warnings go to stderr, among them that a reply was cut. Tool calls are printed as lines of JSON, for programs.
"""

import asyncio
import json
from collections.abc import Iterable
from contextlib import aclosing
from typing import TextIO

from fulmen.chat.parser import TextDelta, Warning
from fulmen.cli.session import ChatSession


def answer_lines(session: ChatSession, lines: Iterable[bytes], *, out: TextIO, err: TextIO) -> None:
    """Answer every line that is not blank, in one conversation; the input is UTF-8, whatever the locale says.

    Raises:
        ValueError: a prompt can't be answered, as it is too long, or a line is no UTF-8.
    """
    with asyncio.Runner() as runner:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"line {number} of the input is no UTF-8: {error.reason} at byte {error.start}"
                ) from None
            if text:
                runner.run(_answer(session, text, out, err))


async def _answer(session: ChatSession, line: str, out: TextIO, err: TextIO) -> None:
    shown = ""
    async with aclosing(session.ask(line)) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                print(delta.text, end="", file=out, flush=True)
                shown += delta.text
            elif isinstance(delta, Warning):
                print(f"fulmen: {delta.text}", file=err)
    reply = session.messages[-1]
    if reply.content:
        print(reply.content.removeprefix(shown), file=out)  # what is left of a call that was cut off
    for call in reply.tool_calls:
        print(json.dumps({"name": call.name, "arguments": json.loads(call.arguments)}, ensure_ascii=False), file=out)
    out.flush()
    if note := session.stats[-1].cut_short:
        print(f"fulmen: {note}", file=err)
