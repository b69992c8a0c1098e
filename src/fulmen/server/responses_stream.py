"""A reply's deltas to the events of the Responses API, and to the response that they add up to.

    response.created, response.in_progress
    for each item (reasoning, message, function_call):
        response.output_item.added
            response.content_part.added, (reasoning_text | output_text).delta ..., .done, content_part.done
            or function_call_arguments.delta ..., .done
        response.output_item.done
    response.completed | response.incomplete | response.failed

A plain answer runs through the same code; its events are thrown away. Clients build items from the `added` and
`done` events alone or from the deltas, so both must tell the whole story.
"""

import time
import uuid
from typing import Any

from fulmen.chat.parser import Delta, TextDelta, ThinkingDelta, ToolCallArguments, ToolCallStart, Warning
from fulmen.chat.reply import ReplyAssembler, Usage
from fulmen.chat.tokenizer import Tokenizer
from fulmen.server.logprobs import token_logprob
from fulmen.trace import TokenEvent

Event = dict[str, Any]

_ID_PREFIX = {"reasoning": "rs", "message": "msg", "function_call": "fc"}


def responses_usage(prompt_tokens: int, usage: Usage) -> dict[str, Any]:
    """Return `usage` in the words of the Responses API."""
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": prompt_tokens + usage.completion_tokens,
    }


class ResponseWriter:
    """Builds one response.

    Example::

        writer = ResponseWriter(response, prompt.assembler(tokenizer), tokenizer, prompt_tokens=12, num_top=None)
        events = [*writer.start(), *writer.feed(event), ...]  # the last one ends the response
        writer.response["status"]  # "completed"
    """

    def __init__(
        self,
        response: dict[str, Any],
        assembler: ReplyAssembler,
        tokenizer: Tokenizer,
        *,
        prompt_tokens: int,
        num_top: int | None,
    ) -> None:
        """Fill in `response`, which has all its fields; `num_top` is None when log-probabilities are not wanted."""
        self.response = response
        self.assembler = assembler
        self._tokenizer = tokenizer
        self._prompt_tokens = prompt_tokens
        self._num_top = num_top
        self._sequence_number = 0
        self._item: dict[str, Any] | None = None
        self._pieces: list[str] = []
        self._item_logprobs: list[dict[str, Any]] = []
        self._new_logprobs: list[dict[str, Any]] = []

    def start(self) -> list[Event]:
        """Return the events that open the stream."""
        return [self._whole("response.created"), self._whole("response.in_progress")]

    def feed(self, event: TokenEvent) -> list[Event]:
        """Take the next token and return what it adds; one with a finish reason ends the response."""
        if self._num_top is not None and event.token_id is not None:
            self._new_logprobs.append(token_logprob(self._tokenizer, event, self._num_top))
        events = [out for delta in self.assembler.feed(event) for out in self._add(delta)]
        return events if event.finish_reason is None else [*events, *self._end(complete=event.finish_reason == "stop")]

    def fail(self, message: str) -> Event:
        """Return the event that ends a response which can't be finished."""
        self.response |= {"status": "failed", "error": {"code": "server_error", "message": message}}
        return self._whole("response.failed")

    def _add(self, delta: Delta) -> list[Event]:
        match delta:
            case ThinkingDelta():
                return [*self._open("reasoning"), self._piece("response.reasoning_text.delta", delta.text)]
            case TextDelta():
                opening = self._open("message")
                if opening:  # tokens of the thinking and its closing tag belong to no text
                    self._new_logprobs = self._new_logprobs[-1:]
                fresh, self._new_logprobs = self._new_logprobs, []
                self._item_logprobs += fresh
                return [*opening, self._piece("response.output_text.delta", delta.text, logprobs=fresh)]
            case ToolCallStart():
                return self._open("function_call", call_id=delta.id, name=delta.name)
            case ToolCallArguments():
                return [self._piece("response.function_call_arguments.delta", delta.text)]
            case Warning():
                self.response.setdefault("warnings", []).append(delta.text)
        return []

    def _open(self, kind: str, **fields: str) -> list[Event]:
        """Begin an item of this kind, unless one is open that goes on; each function call is an item of its own."""
        if self._item is not None and self._item["type"] == kind != "function_call":
            return []
        events = self._close("completed")
        empty: dict[str, dict[str, Any]] = {
            "reasoning": {"summary": [], "content": []},
            "message": {"role": "assistant", "content": []},
            "function_call": {"arguments": ""},
        }
        item = {"id": f"{_ID_PREFIX[kind]}_{uuid.uuid4().hex}", "type": kind, "status": "in_progress"}
        self._item = {**item, **empty[kind], **fields}
        self._pieces, self._item_logprobs = [], []
        self.response["output"].append(self._item)
        events.append(self._event("response.output_item.added", output_index=self._output_index, item=dict(self._item)))
        if kind != "function_call":
            events.append(self._event("response.content_part.added", **self._place(), part=self._part("")))
        return events

    def _close(self, status: str) -> list[Event]:
        """End the open item, if there is one."""
        item = self._item
        if item is None:
            return []
        text = "".join(self._pieces)
        if item["type"] == "function_call":
            item["arguments"] = text
            done = {"name": item["name"], "arguments": text}
            events = [self._event("response.function_call_arguments.done", **self._place(), **done)]
        else:
            item["content"] = [self._part(text)]
            done = {key: value for key, value in item["content"][0].items() if key in ("text", "logprobs")}
            kind = "reasoning_text" if item["type"] == "reasoning" else "output_text"
            events = [
                self._event(f"response.{kind}.done", **self._place(), **done),
                self._event("response.content_part.done", **self._place(), part=item["content"][0]),
            ]
        item["status"] = status
        events.append(self._event("response.output_item.done", output_index=self._output_index, item=dict(item)))
        self._item = None
        return events

    def _end(self, *, complete: bool) -> list[Event]:
        events = [] if self.response["output"] else self._open("message")  # an empty reply is a message still
        status = "completed" if complete else "incomplete"
        events += self._close(status)
        self.response |= {
            "status": status,
            "incomplete_details": None if complete else {"reason": "max_output_tokens"},
            "completed_at": int(time.time()) if complete else None,
            "usage": responses_usage(self._prompt_tokens, self.assembler.usage),
        }
        return [*events, self._whole(f"response.{status}")]

    def _piece(self, kind: str, text: str, **fields: Any) -> Event:
        self._pieces.append(text)
        return self._event(kind, **self._place(), delta=text, **fields)

    def _part(self, text: str) -> dict[str, Any]:
        assert self._item is not None
        if self._item["type"] == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(self._item_logprobs)}

    @property
    def _output_index(self) -> int:
        return len(self.response["output"]) - 1

    def _place(self) -> dict[str, Any]:
        assert self._item is not None
        place = {"item_id": self._item["id"], "output_index": self._output_index}
        return place if self._item["type"] == "function_call" else {**place, "content_index": 0}

    def _whole(self, kind: str) -> Event:
        return self._event(kind, response={**self.response, "output": list(self.response["output"])})

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return event
