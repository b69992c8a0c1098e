"""A conversation whose replies are stopped: what was said stays, and a question without an answer does not."""

import asyncio
import io
import threading
import time

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from tiny_hybrid import tiny_tokenizer

from fulmen.chat.message import Message
from fulmen.chat.template import ChatTemplate
from fulmen.cli.session import ChatSession
from fulmen.cli.terminal import TerminalChat
from fulmen.trace import SamplingParams, TokenEvent

ALTERNATING = """
{%- for message in messages %}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif %}
    {{- message.role }}: {{ message.content }}|
{%- endfor %}
"""


class Answers:
    """Stands for the engine's service; None is no answer, however long one waits."""

    def __init__(self, tokenizer, *answers):
        self.tokenizer, self.answers = tokenizer, list(answers)
        self.prompts = []
        self.when_silent = lambda: None

    async def submit(self, prompt_ids, params):
        self.prompts.append(self.tokenizer.decode(prompt_ids))
        return self._events(self.answers.pop(0))

    async def _events(self, answer):
        if answer is None:
            self.when_silent()
            await asyncio.sleep(60)
        ids = self.tokenizer.encode(answer)
        for index, token in enumerate(ids):
            end = "stop" if index == len(ids) - 1 else None
            yield TokenEvent(choice=0, index=index, token_id=token, finish_reason=end)


@pytest.fixture
def make_session():
    def make(*answers):
        tokenizer = tiny_tokenizer()
        service = Answers(tokenizer, *answers)
        return ChatSession(service, tokenizer, ChatTemplate(ALTERNATING), params=SamplingParams()), service

    return make


async def read(deltas):
    async for _ in deltas:
        pass


async def stop(deltas):
    reading = asyncio.create_task(read(deltas))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


def texts(session):
    return [message.content for message in session.messages]


def test_a_question_that_is_stopped_before_the_answer_is_taken_back(make_session):
    session, service = make_session(None, "Yes.")

    async def talk():
        await stop(session.ask("Well?"))
        assert session.messages == []
        await read(session.ask("Really?"))

    asyncio.run(talk())
    assert texts(session) == ["Really?", "Yes."]
    assert "Well?" not in service.prompts[-1]


def test_a_second_answer_that_is_stopped_before_it_begins_leaves_the_first(make_session):
    session, _ = make_session("One.", None, "Two.")

    async def talk():
        await read(session.ask("Say a number."))
        await stop(session.retry())
        assert texts(session) == ["Say a number.", "One."]
        await read(session.retry())

    asyncio.run(talk())
    assert texts(session) == ["Say a number.", "Two."]


def test_there_must_be_a_message_to_answer_again(make_session):
    session, _ = make_session()
    session.messages = [Message(role="system", content="Be brief.")]
    with pytest.raises(ValueError, match="no message to answer again"):
        asyncio.run(read(session.retry()))


def test_ctrl_c_before_the_first_word_gives_the_question_back_to_be_edited(make_session, tmp_path, monkeypatch):
    session, service = make_session(None, "Yes.")
    console = Console(file=io.StringIO())
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        monkeypatch.setattr("fulmen.cli.terminal.create_input", lambda: keys)
        chat = TerminalChat(session, console, label="none", history=tmp_path / "history")

        def go_on():
            end = time.monotonic() + 20
            while "as it was" not in console.file.getvalue() and time.monotonic() < end:
                time.sleep(0.01)
            keys.send_text(" Really?\r/exit\r")

        service.when_silent = lambda: keys.send_text("\x03")
        typist = threading.Thread(target=go_on)
        typist.start()
        keys.send_text("Well?\r")
        chat.run()
        typist.join()
    assert texts(session) == ["Well? Really?", "Yes."]
