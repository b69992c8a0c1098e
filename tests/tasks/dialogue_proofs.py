"""What every task of dialogues must show: demonstrations score 1 as they are written and read, other replies don't."""

import json
from collections.abc import Iterable
from itertools import islice

import llguidance

from fulmen.chat.message import Message
from fulmen.chat.parser import parse
from fulmen.chat.reply_format import reply_text
from fulmen.chat.template import ChatTemplate
from fulmen.chat.toolcalls import tool_grammar
from fulmen.tasks.task import Example, Split, Task

TEMPLATE = ChatTemplate.minimax_m1()
BYTES = llguidance.LLTokenizer("byte")
WRONG = (
    Message(role="assistant", content=""),
    Message(role="assistant", content=" \n", thinking="Hm."),
    Message(role="assistant", content="qqq -98765.5 qqq \ud800 [[{"),
)


def take(task: Task, split: Split, seed: int, count: int) -> list[Example]:
    """The first examples of a split."""
    return list(islice(task.examples(split, seed), count))


def prove_scores(task: Task, examples: Iterable[Example]) -> None:
    """Gold scores 1, an empty reply and a wrong one 0 with a reason."""
    for example in examples:
        gold = task.score(example, example.demonstration)
        assert gold.value == 1, (example, gold.why)
        assert not gold.why
        json.dumps(example.reference)
        for reply in WRONG:
            score = task.score(example, reply)
            assert score.value == 0, (example, reply)
            assert score.why
            assert all(0 <= part <= 1 for part in score.parts.values())


def prove_round_trip(examples: Iterable[Example]) -> None:
    """The template renders every conversation, and the parser reads each demonstration as it was meant."""
    for example in examples:
        written = "".join(reply_text(example.demonstration))
        prompt = TEMPLATE.render(example.messages, example.tools)
        whole = TEMPLATE.render((*example.messages, example.demonstration), example.tools, add_generation_prompt=False)
        assert whole == prompt + written + "<end_of_sentence>\n"
        reply = parse(written)
        read = reply.message()
        assert not reply.warnings
        assert (read.content, read.thinking) == (example.demonstration.content, example.demonstration.thinking)
        assert [(call.name, call.arguments) for call in read.tool_calls] == [
            (call.name, call.arguments) for call in example.demonstration.tool_calls
        ]


def prove_grammar(example: Example) -> None:
    """The grammar that holds a model to its tools' schemas accepts the demonstration."""
    grammar = tool_grammar(example.tools, thinking="optional")
    assert grammar is not None
    matcher = llguidance.LLMatcher(BYTES, llguidance.LLMatcher.grammar_from_lark(grammar.source))
    data = list("".join(reply_text(example.demonstration)).encode())
    assert not matcher.get_error(), matcher.get_error()
    assert matcher.try_consume_tokens(data) == len(data), example
    assert matcher.is_accepting(), example


def conversation(example: Example) -> tuple:
    """What tells one problem from another: tools and everything said."""
    return (*(tool.name for tool in example.tools), *(message.content for message in example.messages))


def prove_splits(task: Task, count: int, seeds: Iterable[int] = range(3)) -> None:
    """No problem of one split is one of the other; a seed repeats itself, and another one doesn't."""
    train = {conversation(example) for seed in seeds for example in take(task, "train", seed, count)}
    test = {conversation(example) for seed in seeds for example in take(task, "test", seed, count)}
    assert train
    assert test
    assert not train & test
    for split in ("train", "test"):
        assert take(task, split, 5, 20) == take(task, split, 5, 20)
        assert take(task, split, 5, 20) != take(task, split, 6, 20)
