"""The task of talking: chats of one to four turns. Small talk is answered at once, without thinking."""

import random
from collections.abc import Iterator

from fulmen.chat.message import Message
from fulmen.tasks.lexicon import random_source, words
from fulmen.tasks.talk.intents import Exchange, draw_fact, draw_small_talk, draw_unknown, holds_keys
from fulmen.tasks.task import Example, Score, Split

_INTRODUCTIONS = ("My name is {}.", "I am {}.", "Call me {}.", "Hello, I am {}.", "I am called {}.")
_NAME_QUESTIONS = {
    "train": ("What is my name?", "Do you know my name?", "What am I called?", "Who am I?"),
    "test": ("Can you tell me my name?", "Do you remember my name?"),
}
_NO_NAME = Exchange(said="", reply="I don't know your name: you have not told me.", keys=("don't know your name",))
_LENGTHS = (1, 1, 1, 2, 2, 3, 4)


class TalkTask:
    """Small talk, facts, questions beyond its knowledge and the user's name, with sums and other talk before them.

    The test split has wordings, names and sums that training has not.
    """

    name = "talk"

    def examples(self, split: Split, seed: int) -> Iterator[Example]:
        """Problems without end; the same ones for the same split and seed."""
        rng = random_source(self.name, split, seed)
        while True:
            messages: list[Message] = []
            name = ""
            for _ in range(rng.choice(_LENGTHS) - 1):
                if not name and rng.random() < 0.2:
                    name = rng.choice(words("first_names", split))
                    messages += _introduction(rng, name)
                else:
                    messages += _sum(rng) if rng.random() < 0.4 else _messages(_draw(rng, split))
            last = _draw(rng, split)
            if rng.random() < (0.5 if name else 0.02):
                last = _name_question(rng, split, name)
            *before, reply = [*messages, *_messages(last)]
            yield Example(messages=tuple(before), reference=list(last.keys), demonstration=reply)

    def score(self, example: Example, reply: Message) -> Score:
        """1 for a reply with all key phrases of what was asked, in any order and surroundings."""
        right = holds_keys(reply.content, example.reference)
        return Score(value=float(right), why="" if right else f"a reply with {example.reference} was expected")


def _draw(rng: random.Random, split: Split) -> Exchange:
    draw = rng.choices((draw_small_talk, draw_fact, draw_unknown), (70, 18, 12))[0]
    return draw(rng, split)


def _messages(exchange: Exchange) -> tuple[Message, Message]:
    return Message(role="user", content=exchange.said), Message(role="assistant", content=exchange.reply)


def _introduction(rng: random.Random, name: str) -> tuple[Message, Message]:
    said = rng.choice(_INTRODUCTIONS).format(name)
    return _messages(Exchange(said=said, reply=f"Nice to meet you, {name}!", keys=(name,)))


def _name_question(rng: random.Random, split: Split, name: str) -> Exchange:
    said = rng.choice(_NAME_QUESTIONS[split])
    if not name:
        return Exchange(said=said, reply=_NO_NAME.reply, keys=_NO_NAME.keys)
    return Exchange(said=said, reply=f"Your name is {name}.", keys=(name,))


def _sum(rng: random.Random) -> tuple[Message, Message]:
    """A sum that was thought about: the thinking of an earlier turn is left out, and the reply is not imitated."""
    one, other = rng.randint(2, 99), rng.randint(2, 99)
    said = rng.choice(("What is {} + {}?", "{} + {} = ?", "And {} + {}?", "How much is {} + {}?")).format(one, other)
    total = str(one + other)
    thinking = f"{one} + {other} = {total}"
    return Message(role="user", content=said), Message(role="assistant", thinking=thinking, content=total)
