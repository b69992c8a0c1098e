"""Constrained replies follow their grammar to its end, whatever the model would rather say."""

import json

import pytest
from tiny_engine import END, prompts_of

from fulmen.engine.grammar import Grammars
from fulmen.trace import Grammar, SamplingParams

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(6))
def test_replies_to_a_json_schema_are_valid(make_engine, letters, seed) -> None:
    grammar = Grammar(kind="json_schema", source=json.dumps(SCHEMA))
    params = SamplingParams(temperature=1.5, seed=seed, max_tokens=200, grammar=grammar)
    ((completion,),) = make_engine().generate(prompts_of(5), params)
    assert completion.finish_reason == "stop"
    reply = json.loads(letters.decode(completion.token_ids))
    assert set(reply) == {"city", "days"}
    assert 1 <= reply["days"] <= 9


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_regex_and_lark(make_engine, letters, temperature) -> None:
    for grammar in (Grammar(kind="regex", source="yes|no"), Grammar(kind="lark", source='start: "yes" | "no"')):
        params = SamplingParams(temperature=temperature, seed=0, max_tokens=9, grammar=grammar)
        ((completion,),) = make_engine().generate(prompts_of(5), params)
        assert letters.decode(completion.token_ids) in ("yes", "no")


def test_every_choice_and_every_neighbour_has_its_own_state(make_engine, letters) -> None:
    grammar = Grammar(kind="regex", source="[ab]{5}")
    params = SamplingParams(temperature=2.0, seed=3, n=3, max_tokens=9, grammar=grammar)
    for choices in make_engine().generate(prompts_of(5, 6), params):
        texts = [letters.decode(c.token_ids) for c in choices]
        assert all(len(text) == 5 and set(text) <= {"a", "b"} for text in texts)


def test_the_end_token_is_allowed_exactly_where_the_grammar_may_end(letters) -> None:
    constraint = Grammars(letters, END + 20).compile(Grammar(kind="regex", source="a+"))
    assert not constraint.mask()[END]
    constraint.consume(letters.encode("a")[0])
    assert constraint.mask().nonzero()[0].tolist() == [letters.encode("a")[0], END]


class Words:
    """A vocabulary of bytes, longer pieces and one end token; a text is cut into the longest ones."""

    token_bytes = (*(bytes([i]) for i in range(256)), b"tool", b"to", b"ol", b"_calls", b"\xc3\xa9t", b"")
    special_token_ids = frozenset({261})
    eos_token_ids = (261,)

    def encode(self, text: str) -> list[int]:
        ids, data = [], text.encode()
        while data:
            ids.append(max(range(261), key=lambda i: len(self.token_bytes[i]) * data.startswith(self.token_bytes[i])))
            data = data[len(self.token_bytes[ids[-1]]) :]
        return ids


@pytest.mark.parametrize(
    ("grammar", "pieces"),
    [
        (Grammar(kind="lark", source='start: "tool_calls"'), ["tool", "_calls"]),
        (Grammar(kind="regex", source="tool(s|_calls)"), ["tool"]),
        (Grammar(kind="json_schema", source='{"const": "\u00e9to"}'), ['"', "\u00e9t", "o", '"']),
    ],
    ids=["lark", "regex", "json"],
)
def test_a_text_without_alternative_is_cut_as_the_tokenizer_cuts_it(grammar, pieces) -> None:
    words = Words()
    constraint = Grammars(words, 262).compile(grammar)
    for piece in pieces:
        allowed = constraint.mask().nonzero()[0].tolist()
        assert [words.token_bytes[i].decode() for i in allowed] == [piece]
        constraint.consume(allowed[0])


@pytest.mark.parametrize("source", ["[\u00e9\u00e8]", "\u00e9|\u00e8"])
def test_half_a_character_is_cut_into_bytes(source) -> None:
    constraint = Grammars(Words(), 262).compile(Grammar(kind="regex", source=source))
    assert constraint.mask().nonzero()[0].tolist() == [0xC3]
    constraint.consume(0xC3)
    assert constraint.mask().nonzero()[0].tolist() == [0xA8, 0xA9]


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}]
)
def test_a_schema_that_no_finite_answer_fits_is_no_success(make_engine, schema) -> None:
    spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    grammar = Grammar(kind="json_schema", source=json.dumps({**schema, "x-guidance": spaced}))
    ((completion,),) = make_engine().generate(prompts_of(5), SamplingParams(max_tokens=50, grammar=grammar))
    assert completion.finish_reason == "grammar"


@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("json_schema", '{"type": "object", "not": {}}', "not"),
        ("json_schema", '{"type": "strange"}', "strange"),
        ("regex", "(", "regex"),
        ("lark", "start: nowhere", "nowhere"),
        ("json_schema", json.dumps({"properties": {f"p{i}": {} for i in range(6000)}}), "size.*too big.*40000"),
    ],
)
def test_an_unusable_grammar_is_refused_with_the_reason(make_engine, kind, source, message) -> None:
    engine = make_engine()
    with pytest.raises(ValueError, match=message) as error:
        engine.add([1], SamplingParams(grammar=Grammar(kind=kind, source=source)))
    assert "1 |" not in str(error.value)  # the reason, and not the grammar
    assert not engine.has_work
