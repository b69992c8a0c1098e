"""System messages for problems: one in five gets one, always the same for a seed, and keeps its own messages."""

from fulmen.chat.message import Message
from fulmen.train.data.instructions import instructed

QUESTION = (Message(role="user", content="What is 17 + 25?"),)


def test_one_in_five_begins_with_a_system_message():
    drawn = [instructed(QUESTION, seed=str(seed)) for seed in range(1000)]
    first = [messages[0].content for messages in drawn if messages[0].role == "system"]
    assert 150 < len(first) < 250
    assert len(set(first)) > 100
    assert all(first)
    assert all(messages[-1:] == QUESTION for messages in drawn)
    assert drawn == [instructed(QUESTION, seed=str(seed)) for seed in range(1000)]


def test_a_system_message_of_the_problem_is_the_only_one():
    messages = (Message(role="system", content="Speak Latin."), *QUESTION)
    assert all(instructed(messages, seed=str(seed)) == messages for seed in range(50))
