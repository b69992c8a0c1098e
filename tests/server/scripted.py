"""A service that says what a test wrote down, so that the wire can be tested exactly and at once."""

import asyncio
import threading
from dataclasses import dataclass, field

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from fulmen.chat.tokenizer import Tokenizer
from fulmen.trace import TokenEvent

CONTROL = ("<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>")


def byte_tokenizer():
    """One token for each byte, and MiniMax-M1's control tokens after them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in CONTROL])
    return Tokenizer(backend, eos_token_ids=[backend.token_to_id("<end_of_sentence>")])


@dataclass
class Script:
    """A reply, or what happens instead of one."""

    text: str = "Hello there."
    finish_reason: str = "stop"
    stop_string: str | None = None
    cached_tokens: int = 0
    delay: float = 0.0
    """Seconds before each token."""
    fails_after: int | None = None
    """So many tokens come before the service raises."""
    holds_behind: str | None = None
    """The reply comes to the end of this text and waits for `ScriptedService.go_on`."""


@dataclass
class ScriptedService:
    """Stands for `engine.service.Service`.

    A request gets the next script, the last one again when there are no more; each of its n choices says the same.
    """

    tokenizer: object
    scripts: list[Script] = field(default_factory=lambda: [Script()])
    refusal: Exception | None = None
    """Raised by `submit`."""
    requests: list[tuple] = field(default_factory=list)
    max_open: int = 300
    num_open: int = 0
    """Requests that have been submitted and neither ended nor been closed."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Set by a test to let a reply that waits go on."""

    def say(self, *scripts):
        self.scripts = [Script(text=script) if isinstance(script, str) else script for script in scripts]
        self.requests.clear()
        self.refusal = None
        self.go_on.clear()

    def prompts(self):
        """The prompts of the requests so far, as text."""
        return [self.tokenizer.decode(ids, skip_special=False) for ids, _ in self.requests]

    async def submit(self, prompt_ids, params):
        if self.refusal is not None:
            raise self.refusal
        script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
        self.requests.append((list(prompt_ids), params))
        self.num_open += 1
        return ScriptedStream(self, self._events(script, params))

    def stats(self):
        return {"num_requests_running": self.num_open}

    async def _events(self, script, params):
        ids = self.tokenizer.encode(script.text, allow_special=True)
        if script.finish_reason == "stop" and script.stop_string is None:
            ids.append(self.tokenizer.eos_token_ids[0])
        ids = ids[: params.max_tokens]
        hold = None if script.holds_behind is None else _length_up_to(script, self.tokenizer)
        for index, token_id in enumerate(ids):
            while index == hold and not self.go_on.is_set():
                await asyncio.sleep(0.01)
            for choice in range(params.n):
                if script.delay:
                    await asyncio.sleep(script.delay)
                if script.fails_after == index:
                    raise RuntimeError("the script says so")
                last = index == len(ids) - 1
                top = ((token_id, -0.25), (0, float("-inf")))[: params.top_logprobs]
                yield TokenEvent(
                    choice=choice,
                    index=index,
                    token_id=token_id,
                    logprob=-0.5,
                    model_logprob=-0.25,
                    top_logprobs=top,
                    finish_reason=script.finish_reason if last else None,
                    stop_string=script.stop_string if last else None,
                    cached_tokens=script.cached_tokens,
                )


class ScriptedStream:
    """The iterator of one request; counts as open until it has ended or been closed."""

    def __init__(self, service, events):
        self.service = service
        self.events = events
        self.open = True

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.events.__anext__()
        except BaseException:
            self.release()
            raise

    async def aclose(self):
        await self.events.aclose()
        self.release()

    def release(self):
        self.service.num_open -= self.open
        self.open = False


def _length_up_to(script, tokenizer):
    end = script.text.index(script.holds_behind) + len(script.holds_behind)
    return len(tokenizer.encode(script.text[:end], allow_special=True))
