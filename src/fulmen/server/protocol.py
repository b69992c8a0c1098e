"""What the requests share: strict models of their fields, sampling options, and the words for finish reasons.

Known fields are checked by type and range; unknown ones are ignored, because clients send many. Fields that `chat`
reads itself (messages, tools, formats) are declared for the API's description and passed on as they came.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from fulmen.trace import FinishReason, Grammar, RepetitionStop, SamplingParams, ThinkingBudget, TokenEvent

EFFORT_BUDGETS: Mapping[str, int] = {
    "none": 0,
    "minimal": 512,
    "low": 2_048,
    "medium": 8_192,
    "high": 40_000,
    "xhigh": 80_000,
}
"""Tokens of thinking that each reasoning effort allows; high and xhigh are the budgets of MiniMax-M1-40K and -80K."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

_MAX_STOPS = 16

_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART, "minItems": 1}]}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": _CONTENT,
        "reasoning_content": {"type": "string"},
    },
    "required": ["role", "content"],
}
_FUNCTION = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "parameters": {"type": "object"},
        "strict": {"type": "boolean"},
    },
    "required": ["name"],
}
_TOOL = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "function": _FUNCTION},
    "required": ["type", "function"],
}
_FORMAT = {
    "type": "object",
    "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}, "json_schema": {"type": "object"}},
    "required": ["type"],
}

Messages = Annotated[Any, WithJsonSchema({"type": "array", "items": _MESSAGE, "minItems": 1})]
Tools = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "array", "items": _TOOL}, {"type": "null"}]})]
ToolChoiceField = Annotated[
    Any, WithJsonSchema({"anyOf": [{"enum": ["auto", "none", "required"]}, _TOOL, {"type": "null"}]})
]
ResponseFormat = Annotated[Any, WithJsonSchema({"anyOf": [_FORMAT, {"type": "null"}]})]


class WireModel(BaseModel):
    """A part of a request: types are strict as in JSON, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class RepetitionStopFields(WireModel):
    """`repetition_stop` of a request: end a reply after so many tokens in a row, each above this probability.

    A probability of 1 is above none: the reply may repeat itself for as long as it likes.
    """

    tokens: int = Field(default=RepetitionStop().tokens, ge=1)
    probability: float = Field(default=RepetitionStop().probability, ge=0, le=1)


class SamplingFields(WireModel):
    """The sampling options that all endpoints take; OpenAI's, and in the second group those of open engines."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = Field(default=None, ge=1, le=128)

    top_k: int | None = Field(default=None, ge=-1, lt=2**30)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    ignore_eos: bool | None = None
    repetition_stop: RepetitionStopFields | None = None

    def sampling_params(
        self,
        defaults: SamplingParams,
        *,
        vocab_size: int,
        max_tokens: int | None = None,
        top_logprobs: int = 0,
        grammar: Grammar | None = None,
        thinking_budget: ThinkingBudget | None = None,
    ) -> SamplingParams:
        """Return what the engine is told: these options over the model's defaults.

        Raises:
            ValueError: a bias names no token, or a stop string is empty.
        """

        def given(name: str) -> Any:
            value = getattr(self, name)
            return getattr(defaults, name) if value is None else value

        repetition = self.repetition_stop
        return SamplingParams(
            temperature=given("temperature"),
            top_p=given("top_p"),
            top_k=max(given("top_k"), 0),  # -1 is vLLM's word for all
            min_p=given("min_p"),
            repetition_penalty=given("repetition_penalty"),
            presence_penalty=given("presence_penalty"),
            frequency_penalty=given("frequency_penalty"),
            logit_bias=_read_bias(self.logit_bias or {}, vocab_size),
            seed=self.seed,
            n=self.n or 1,
            max_tokens=defaults.max_tokens if max_tokens is None else max_tokens,
            stop=self.stop_strings,
            ignore_eos=bool(self.ignore_eos),
            top_logprobs=top_logprobs,
            grammar=grammar,
            thinking_budget=thinking_budget,
            repetition_stop=defaults.repetition_stop
            if repetition is None
            else RepetitionStop(tokens=repetition.tokens, probability=repetition.probability),
        )

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings; ValueError when one is empty or there are more than 16."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > _MAX_STOPS:
            raise ValueError(f"stop has {len(stops)} strings; at most {_MAX_STOPS} are allowed")
        for index, stop in enumerate(stops):
            if not stop:
                raise ValueError(f"stop[{index}] is empty")
        return stops


class StreamOptions(WireModel):
    """Options of a stream."""

    include_usage: bool | None = None


def read_thinking_budget(budget: int | None, effort: Effort | None) -> int | None:
    """Most tokens of thinking: the number if given, else that of the effort, else None (no limit)."""
    if budget is not None:
        return budget
    return None if effort is None else EFFORT_BUDGETS[effort]


def wire_finish_reason(reason: FinishReason, *, called_tools: bool = False) -> str:
    """Return OpenAI's word: stop, length or tool_calls.

    A reply stopped because it repeated itself, or because its grammar could not be followed, was cut off like one that
    met its limit, so clients that treat `length` as incomplete do right; `stop_reason` beside it says which it was.
    """
    if reason == "stop":
        return "tool_calls" if called_tools else "stop"
    return "length"


def wire_stop_reason(event: TokenEvent) -> str | None:
    """Return what `finish_reason` can't tell of a last event: the stop string, or "repetition" or "grammar"."""
    return event.finish_reason if event.finish_reason in ("repetition", "grammar") else event.stop_string


def _read_bias(bias: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    read = {}
    for key, value in bias.items():
        if not (key.isascii() and key.isdecimal() and len(key) < 10 and int(key) < vocab_size):
            raise ValueError(f"logit_bias has the key {key!r:.40}; keys are token ids below {vocab_size}")
        if not -100 <= value <= 100:
            raise ValueError(f"logit_bias[{key}] is {value}; it must be within -100 and 100")
        read[int(key)] = value
    return read
