"""What texts tell of people, objects and villages: each relation with its sentences and questions.

In a sentence `{s}` is the subject and `{o}` the object of the relation; in a question `{s}` may also be another way to
point at the subject, such as "the owner of the amber lamp".
"""

from dataclasses import dataclass
from typing import Literal

SubjectKind = Literal["person", "object", "village"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """One thing to be told of a subject.

    Example: the relation `city` of a person is told by "{s} lives in {o}." and asked for by "Where does {s} live?".
    """

    name: str
    """How thinking calls it."""
    values: str
    """The word list of its objects, or `person` or `invented`; `number:LOW:HIGH` for whole numbers."""
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    more: tuple[str, ...] = ()
    """Of numbers: questions which of `{a}` and `{b}` has the larger one."""
    less: tuple[str, ...] = ()
    """And which has the smaller one."""


def _relation(name: str, values: str, sentences: str, questions: str, more: str = "", less: str = "") -> Relation:
    return Relation(
        name=name,
        values=values,
        sentences=tuple(sentences.split(" / ")),
        questions=tuple(questions.split(" / ")),
        more=tuple(filter(None, more.split(" / "))),
        less=tuple(filter(None, less.split(" / "))),
    )


RELATIONS: dict[SubjectKind, tuple[Relation, ...]] = {
    "person": (
        _relation(
            "city",
            "cities",
            "{s} lives in {o}. / The home of {s} is in {o}. / {o} is where {s} lives. / {s} has a flat in {o}.",
            "Where does {s} live? / In which city does {s} live?",
        ),
        _relation(
            "job",
            "jobs",
            "{s} works as {an_o}. / {s} is {an_o}. / By trade {s} is {an_o}. / {s} has been {an_o} for years.",
            "What is the job of {s}? / What does {s} work as? / What does {s} do for a living?",
        ),
        _relation(
            "age",
            "number:7:90",
            "{s} is {o} years old. / The age of {s} is {o}. / {s} turned {o} this year.",
            "How old is {s}? / What is the age of {s}?",
            "Who is older, {a} or {b}? / Is {a} or {b} older?",
            "Who is younger, {a} or {b}? / Is {a} or {b} younger?",
        ),
        _relation(
            "height",
            "number:120:210",
            "{s} is {o} cm tall. / {s} measures {o} cm. / The height of {s} is {o} cm.",
            "How tall is {s}? / What is the height of {s}?",
            "Who is taller, {a} or {b}? / Is {a} or {b} taller?",
            "Who is shorter, {a} or {b}? / Is {a} or {b} shorter?",
        ),
        _relation(
            "pet",
            "animals",
            "{s} keeps {an_o} as a pet. / {s} has a pet, {an_o}. / The pet of {s} is {an_o}.",
            "What pet does {s} have? / Which animal does {s} keep?",
        ),
        _relation(
            "food",
            "foods",
            "{s} likes {o} best. / The favourite food of {s} is {o}. / {s} could eat {o} every day.",
            "What is the favourite food of {s}? / What does {s} like to eat?",
        ),
        _relation(
            "instrument",
            "instruments",
            "{s} plays the {o}. / The {o} is what {s} plays. / {s} learned the {o} as a child.",
            "Which instrument does {s} play? / What does {s} play?",
        ),
        _relation(
            "friend",
            "person",
            "The best friend of {s} is {o}. / {s} has a best friend, {o}. / {o} is the best friend of {s}.",
            "Who is the best friend of {s}?",
        ),
    ),
    "object": (
        _relation(
            "owner",
            "person",
            "{s} belongs to {o}. / {o} owns {s}. / The owner of {s} is {o}.",
            "Who owns {s}? / Who is the owner of {s}?",
        ),
        _relation(
            "maker",
            "person",
            "{s} was made by {o}. / {o} made {s}. / The maker of {s} is {o}.",
            "Who made {s}? / Who is the maker of {s}?",
        ),
        _relation(
            "place",
            "cities",
            "{s} is kept in {o}. / {s} stands in {o}. / One can see {s} in {o}.",
            "Where is {s} kept? / Where is {s}?",
        ),
        _relation(
            "price",
            "number:2:999",
            "{s} costs {o} coins. / The price of {s} is {o} coins. / {s} was sold for {o} coins.",
            "How much does {s} cost? / What is the price of {s}?",
            "Which costs more, {a} or {b}?",
            "Which costs less, {a} or {b}?",
        ),
        _relation(
            "weight",
            "number:2:400",
            "{s} weighs {o} kg. / The weight of {s} is {o} kg.",
            "How much does {s} weigh? / What is the weight of {s}?",
            "Which is heavier, {a} or {b}?",
            "Which is lighter, {a} or {b}?",
        ),
    ),
    "village": (
        _relation(
            "people",
            "number:30:9000",
            "{o} people live in {s}. / {s} has {o} people. / {s} is home to {o} people.",
            "How many people live in {s}? / How many people does {s} have?",
            "Which has more people, {a} or {b}?",
            "Which has fewer people, {a} or {b}?",
        ),
        _relation(
            "mayor",
            "person",
            "The mayor of {s} is {o}. / {o} is the mayor of {s}. / {s} has a mayor, {o}.",
            "Who is the mayor of {s}?",
        ),
        _relation(
            "river",
            "invented",
            "{s} lies on the river {o}. / The river {o} flows through {s}.",
            "On which river does {s} lie? / Which river flows through {s}?",
        ),
        _relation(
            "year",
            "number:1100:1990",
            "{s} was founded in {o}. / The year when {s} was founded is {o}.",
            "When was {s} founded? / In which year was {s} founded?",
            "Which was founded later, {a} or {b}?",
            "Which was founded earlier, {a} or {b}?",
        ),
    ),
}
"""Every relation, by the kind of its subject."""
