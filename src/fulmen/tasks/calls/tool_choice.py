"""Choosing alone: which of many names is that of the tool for a deed. Dense practice of what a call needs once."""

import random
from collections.abc import Iterator, Sequence

from fulmen.chat.message import Message
from fulmen.tasks.calls.requests import phrase_request
from fulmen.tasks.calls.situation import chosen
from fulmen.tasks.calls.tools import InventedTool, draw_tool
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.task import Example, Score, Split

_MOST_NAMES = 6
_QUESTIONS = ("{names}\n\n{deeds}", "Tools: {names}\nWhat is for this?\n{deeds}", "{deeds}\n\nWhich of these? {names}")


class ToolChoiceTask:
    """Up to 6 names of tools, and deeds: each is that of a name, or resembles one, or is none's."""

    name = "tool_choice"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            given: dict[str, InventedTool] = {}
            for _ in range(rng.randint(1, _MOST_NAMES)):
                tool = _draw(rng, split, list(given.values()))
                given.setdefault(tool.name, tool)
            tools = list(given.values())
            wanted = rng.sample(tools, rng.randint(1, min(4, len(tools))))
            wanted += [_draw(rng, split, tools) for _ in range(rng.randint(0, 2))]
            rng.shuffle(wanted)
            deeds = [phrase_request(rng, split, tool, {}).deed for tool in wanted]
            names = [tool.name if tool.name in given else None for tool in wanted]
            text = rng.choice(_QUESTIONS).format(names=", ".join(given), deeds="\n".join(deeds))
            order = list(given)
            lines = [
                line
                for deed, name in zip(deeds, names, strict=True)
                for line in chosen(deed, order[: order.index(name) + 1] if name else order, fits=name is not None)
            ]
            yield Example(
                messages=(Message(role="user", content=text),),
                reference=[name or "none" for name in names],
                demonstration=Message(role="assistant", content="\n".join(lines)),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 when each deed has its name; the part `deeds` is the share of deeds that do."""
        found: list[str] = []
        for line in reply.content.split("\n"):
            if not line.startswith("fits: "):
                found.append("none")
            elif found and not line.endswith(" no"):
                found[-1] = line.removeprefix("fits: ").strip()
        right = sum(one == other for one, other in zip(found, example.reference, strict=False))
        exact = found == example.reference
        why = "" if exact else f"{example.reference} was expected"
        return Score(value=float(exact), parts={"deeds": right / len(example.reference)}, why=why)


def _draw(rng: random.Random, split: Split, others: Sequence[InventedTool]) -> InventedTool:
    """A tool whose name tells what it does: alike to one of the others, if there are any, and yet none of them."""
    while True:
        tool = draw_tool(rng, split, near=rng.choice(others) if others and rng.random() < 0.6 else None)
        if not (tool.requests or tool.opaque) and not any(tool.does_the_same_as(other) for other in others):
            return tool
