"""Messages to token ids, through the chat template that a checkpoint carries.

One object serves the server (a prompt), fine-tuning (an example with the mask of trained tokens) and reinforcement
learning, so that all three agree: the ids of a prompt are a prefix of the ids of the example that continues it.

Texts from outside are guarded: a control token spelled out in a message stays text. For this, and to find the
replies, the conversation is rendered a second time with marks in it; the marks are taken out again before encoding,
and the text between them must be the unmarked rendering.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from fulmen.chat.message import Message, ToolSpec
from fulmen.chat.reply_format import CALLS_OPEN, CLOSE_TEXT, CLOSED_THINKING, OPENED_THINKING, THINK_OPEN, ThinkingStart
from fulmen.chat.tokenizer import Tokenizer, read_json, token_text, unused_characters
from fulmen.chat.transcript import Marks, Style, Transcript, write_transcript

_BUILT_IN = Path(__file__).with_name("minimax_m1.jinja")
_PROBE = "probe of the content"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedChat:
    """A conversation in tokens.

    Example: of `TokenizedChat(ids=(1, 9, 8, 2), trained=(False, False, True, True), starts_in_thinking=False)` the
    last two tokens are a reply, its end token included.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    """True for the tokens that the model wrote: of replies that stand as they were written, up to the end token."""
    starts_in_thinking: bool
    """Whether the text ends inside an open thinking, as some templates and `thinking="open"` leave it."""


class ChatTemplate:
    """A compiled chat template.

    Example::

        template = ChatTemplate.load("checkpoint")
        template.render([Message(role="user", content="Hi")])
        # '<begin_of_document><beginning_of_sentence>user name=user\\nHi<end_of_sentence>\\n<beginning_of_...'
    """

    def __init__(self, source: str, *, tokens: Mapping[str, str] | None = None) -> None:
        """Compile a Jinja template; `tokens` are its variables such as `bos_token`.

        Raises:
            ValueError: the template has a syntax error, or renders no user message.
        """
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(f"the chat template has a syntax error in line {error.lineno}: {error.message}") from error
        self._tokens = dict(tokens or {})
        self.thinks = THINK_OPEN in source or CALLS_OPEN in source
        """Whether the model was trained to think: its template says so, or asks for tool calls as MiniMax-M1's does."""
        self._style = Style(parts=self._wants_parts(), tools=CALLS_OPEN in source)

    @classmethod
    def load(cls, folder: str | Path) -> "ChatTemplate":
        """Read `chat_template.jinja` or the `chat_template` of `tokenizer_config.json`; without one, MiniMax-M1's.

        Raises:
            ValueError: the template can't be used; the message names the file.
        """
        folder = Path(folder)
        config_path, file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
        config = read_json(config_path)
        source = config.get("chat_template")
        if isinstance(source, list):  # several templates by name
            named = [entry for entry in source if isinstance(entry, dict) and entry.get("name") == "default"]
            source = named[0].get("template") if named else None
        if source is not None and not isinstance(source, str):
            raise ValueError(f"{config_path}: chat_template is {source!r:.60}; it must be a text")
        path = config_path if source is not None else _BUILT_IN
        if file.is_file():
            path = file
        if path != config_path:
            source = path.read_text(encoding="utf-8")
        tokens = {key: text for key, value in config.items() if key.endswith("_token") and (text := token_text(value))}
        try:
            return cls(str(source), tokens=tokens)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def minimax_m1(cls) -> "ChatTemplate":
        """The template of MiniMax-M1."""
        return cls(_BUILT_IN.read_text(encoding="utf-8"))

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        *,
        add_generation_prompt: bool = True,
        keep_thinking: bool = False,
        thinking: ThinkingStart = "free",
    ) -> str:
        """Render a conversation as text.

        Args:
            messages: the conversation.
            tools: tools that the model may call.
            add_generation_prompt: end with the beginning of the assistant's turn.
            keep_thinking: keep the thinking of replies before the last user message, which is left out otherwise.
            thinking: whether the prompt leaves the thinking to the model, opens it, or opens and closes it.

        Raises:
            ValueError: the template refuses the messages, or a tool message answers no call.
        """
        transcript = write_transcript(messages, tools, style=self._style, start=thinking, keep_thinking=keep_thinking)
        text = self._render(transcript, add_generation_prompt)
        return text + _thinking_prompt(text, thinking) if add_generation_prompt else text

    def render_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        *,
        add_generation_prompt: bool = True,
        keep_thinking: bool = False,
        thinking: ThinkingStart = "free",
    ) -> TokenizedChat:
        """Render a conversation as ids, with the mask of trained tokens.

        The arguments are those of `render`. Each reply is encoded apart from what stands before it, as it was when it
        was sampled; so the ids of a prompt stay a prefix when the reply and further messages are added.

        Raises:
            ValueError: as `render`; or `add_generation_prompt` is False and the template changes a reply's text, so
                that its tokens can't be told from the template's.
        """
        write = partial(
            write_transcript, messages, tools, style=self._style, start=thinking, keep_thinking=keep_thinking
        )
        plain = self._render(write(), add_generation_prompt)
        marks = Marks(*unused_characters(plain, 3))
        guard = partial(tokenizer.guard, cut=marks.cut)
        transcript = write(guard=guard, marks=marks)
        text = self._render(transcript, add_generation_prompt)
        if marks.remove(text) != plain or text.count(marks.begin) != len(transcript.as_written):
            if not add_generation_prompt:
                raise ValueError("the chat template changes the text of a reply, so that its tokens can't be found")
            # Trimmed, for example. The prompt is still right; only the mask and the prefix property are lost.
            text = self._render(write(guard=guard), add_generation_prompt)
        suffix = _thinking_prompt(text, thinking) if add_generation_prompt else ""
        text += marks.cut + suffix if suffix else ""
        ids, trained = _encode(tokenizer, text, marks, transcript.as_written)
        opened = add_generation_prompt and text.rstrip().endswith(THINK_OPEN)
        return TokenizedChat(ids=tuple(ids), trained=tuple(trained), starts_in_thinking=opened)

    def _render(self, transcript: Transcript, add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=transcript.messages,
                tools=transcript.tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError, LookupError) as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error

    def _wants_parts(self) -> bool:
        """Whether content must be a list of parts: some templates read nothing else, most read only strings."""
        failure = "its text is missing"
        for content in (_PROBE, [{"type": "text", "text": _PROBE}]):
            messages = [{"role": "user", "content": content}]
            try:
                text = self._render(Transcript(messages=messages, tools=None, as_written=()), True)
            except ValueError as error:
                failure = str(error)
                continue
            if _PROBE in text:
                return not isinstance(content, str)
        raise ValueError(f"the chat template renders no user message: {failure}")


def _thinking_prompt(text: str, thinking: ThinkingStart) -> str:
    """What follows a generation prompt `text` to open or close the thinking; some templates have opened it already."""
    opened = text.rstrip().endswith(THINK_OPEN)
    if thinking == "open":
        return "" if opened else OPENED_THINKING
    if thinking == "closed":
        return CLOSE_TEXT if opened else CLOSED_THINKING
    return ""


def _encode(
    tokenizer: Tokenizer, marked: str, marks: Marks, as_written: Sequence[bool]
) -> tuple[list[int], list[bool]]:
    """Encode the text between the marks, and say of each token whether it is trained."""
    ids: list[int] = []
    trained: list[bool] = []
    replies = iter(as_written)
    wanted = in_reply = after_reply = False
    for piece in re.split(f"([{marks.cut}{marks.begin}{marks.end}])", marked):
        if piece == marks.begin:
            in_reply, wanted = True, next(replies)
        elif piece == marks.end:
            in_reply, after_reply = False, True
        elif piece and piece != marks.cut:
            new = tokenizer.encode(piece, allow_special=True)
            num_trained = len(new) if in_reply else _end_length(tokenizer, new) if after_reply else 0
            after_reply = after_reply and in_reply
            ids += new
            trained += [wanted and index < num_trained for index in range(len(new))]
    return ids, trained


def _end_length(tokenizer: Tokenizer, ids: Sequence[int]) -> int:
    """How many of the template's tokens after a reply end it: up to the first control token, if it follows at once."""
    for index, token_id in enumerate(ids):
        if token_id in tokenizer.special_token_ids or token_id in tokenizer.eos_token_ids:
            return 0 if tokenizer.decode(ids[:index]).strip() else index + 1
    return 0


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`, with which some templates enclose replies; replies are found by marks here."""

    tags = {"generation"}  # noqa: RUF012 (as jinja declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Parse the tag to what stands inside it."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """Jinja's own filter escapes HTML, which templates don't mean."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
