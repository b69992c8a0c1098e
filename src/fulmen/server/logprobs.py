"""Log-probabilities of tokens in OpenAI's two forms: the list of chat and Responses, the columns of completions.

All are the model's own, so that a token's can be compared with those of the alternatives beside it.
"""

from collections.abc import Sequence
from typing import Any

from fulmen.chat.tokenizer import Tokenizer
from fulmen.trace import TokenEvent

_LOWEST = -9999.0
"""OpenAI's number for a token of no probability; JSON has no infinity."""


def token_logprob(tokenizer: Tokenizer, event: TokenEvent, num_top: int) -> dict[str, Any]:
    """Return the entry of one token, with the `num_top` most likely ones beside it."""
    assert event.token_id is not None
    top = [_entry(tokenizer, token_id, logprob) for token_id, logprob in event.top_logprobs[:num_top]]
    return {**_entry(tokenizer, event.token_id, event.model_logprob), "top_logprobs": top}


def completion_logprobs(
    tokenizer: Tokenizer, events: Sequence[TokenEvent], num_top: int, *, offset: int
) -> dict[str, Any]:
    """Return the columns of `/v1/completions` for consecutive tokens whose text begins at character `offset`."""
    tokens = [_text(tokenizer, event.token_id) for event in events if event.token_id is not None]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [max(event.model_logprob, _LOWEST) for event in events if event.token_id is not None],
        "top_logprobs": [
            {_text(tokenizer, token_id): max(logprob, _LOWEST) for token_id, logprob in event.top_logprobs[:num_top]}
            for event in events
            if event.token_id is not None
        ],
        "text_offset": offsets,
    }


def _entry(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes[token_id]
    return {"token": _text(tokenizer, token_id), "logprob": max(logprob, _LOWEST), "bytes": list(data)}


def _text(tokenizer: Tokenizer, token_id: int) -> str:
    return tokenizer.decode((token_id,), skip_special=False)
