"""Messages to tokens and tokens to messages; no torch.

A request passes `message` (JSON to records), `prompt` (options to ids, grammar and budget; through `transcript`,
`template`, `tokenizer` and `toolcalls`) and, on the way back, `reply` (token events to deltas; through `parser`).
`reply_format` is the form of a reply, which `template` writes and `parser` reads.
"""

from fulmen.chat.message import Message, ToolCall, ToolSpec, messages_from_openai, tools_from_openai
from fulmen.chat.parser import ParsedReply, ReplyParser, parse
from fulmen.chat.prompt import THINKING_BUDGET_40K, THINKING_BUDGET_80K, ChatPrompt, build_prompt
from fulmen.chat.reply import ReplyAssembler, Usage
from fulmen.chat.template import ChatTemplate, TokenizedChat
from fulmen.chat.tokenizer import IncrementalDecoder, Tokenizer
from fulmen.chat.toolcalls import ToolChoice, json_grammar, response_schema_from_openai, tool_grammar

__all__ = [
    "ChatPrompt",
    "ChatTemplate",
    "IncrementalDecoder",
    "Message",
    "ParsedReply",
    "ReplyAssembler",
    "ReplyParser",
    "THINKING_BUDGET_40K",
    "THINKING_BUDGET_80K",
    "TokenizedChat",
    "Tokenizer",
    "ToolCall",
    "ToolChoice",
    "ToolSpec",
    "Usage",
    "build_prompt",
    "json_grammar",
    "messages_from_openai",
    "parse",
    "response_schema_from_openai",
    "tool_grammar",
    "tools_from_openai",
]
