"""Choosing alone: which of many names is that of the tool for a deed. Dense practice of what calls need once each."""

from collections.abc import Iterator

from fulmen.chat.message import Message, ToolSpec
from fulmen.tasks.calls.requests import phrase_request
from fulmen.tasks.calls.situation import chosen
from fulmen.tasks.calls.tools import draw_tool
from fulmen.tasks.lexicon import random_source
from fulmen.tasks.task import Example, Score, Split

_MOST_NAMES = 10
_NONE = "none"
_QUESTIONS = (
    "{deed}: which of these does that? {names}", "{names}\nWhich one is for this: {deed}?",
    "Tools: {names}\nWanted: {deed}", "{names}. {deed}",
)  # fmt: skip


class ToolChoiceTask:
    """Up to 10 names of tools, of which half resemble the wanted one, and a deed; a quarter of the time it is no
    name's.
    """

    name = "tool_choice"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            wanted = draw_tool(rng, split)
            if wanted.requests or wanted.thing.rpartition(" ")[2] not in wanted.name.lower():
                continue  # its name does not tell what it does
            tools = {wanted.name: wanted}
            count = rng.randint(2, _MOST_NAMES)
            while len(tools) < count:
                tool = draw_tool(rng, split, near=wanted if rng.random() < 0.5 else None)
                if not any(tool.does_the_same_as(other) for other in tools.values()):
                    tools.setdefault(tool.name, tool)
            deed = phrase_request(rng, wanted, {}).deed
            answer = wanted.name if rng.random() < 0.75 else _NONE
            names = [name for name in tools if wanted.name == answer or name != wanted.name]
            specs = [ToolSpec(name=name, description="", parameters={}) for name in rng.sample(names, len(names))]
            text = rng.choice(_QUESTIONS).format(deed=deed, names=", ".join(spec.name for spec in specs))
            yield Example(
                messages=(Message(role="user", content=text),),
                reference=answer,
                demonstration=Message(
                    role="assistant", thinking="\n".join(chosen(specs, deed, answer)), content=answer
                ),
            )

    def score(self, example: Example, reply: Message) -> Score:
        """1 for the name alone."""
        right = reply.content.strip() == example.reference
        return Score(value=float(right), why="" if right else f"{example.reference} was expected")
