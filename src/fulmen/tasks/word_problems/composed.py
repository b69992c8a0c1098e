"""Pieces that join into stories about a number of things: where they come from, what happens, what is asked.

Each opening goes with each event and each ending: 8 * 12 * 9 kinds of stories, and more with two events.
"""

from fulmen.tasks.word_problems.story import Piece

OPENINGS = (
    Piece(
        name="packs",
        texts=(
            "{name} has {a} {boxes} with {b} {items} in each.",
            "{name} buys {a} {boxes} of {items}. Each holds {b} {items}.",
            "There are {b} {items} in each of the {a} {boxes} that {name} owns.",
        ),
        numbers={"a": range(2, 13), "b": range(3, 31)},
        steps=("all=a*b",),
    ),
    Piece(
        name="colours",
        texts=(
            "{name} has {a} red {items} and {b} blue {items}.",
            "{name} owns {a} small and {b} large {items}.",
            "In a box of {name} there are {a} old {items} and {b} new ones.",
        ),
        numbers={"a": range(5, 150), "b": range(5, 150)},
        steps=("all=a+b",),
    ),
    Piece(
        name="two_days",
        texts=(
            "{name} collects {a} {items} in the morning and {b} in the afternoon.",
            "On {day} {name} finds {a} {items}. The next day {name} finds {b} more.",
        ),
        numbers={"a": range(5, 100), "b": range(5, 100)},
        steps=("all=a+b",),
    ),
    Piece(
        name="together",
        texts=(
            "{name} has {a} {items}. {friend} has {b} {items}. They put all of them together.",
            "{name} brings {a} {items} and {friend} brings {b}. They keep them in one box.",
        ),
        numbers={"a": range(5, 120), "b": range(5, 120)},
        steps=("all=a+b",),
    ),
    Piece(
        name="daily",
        texts=("{name} makes {a} {items} a day for {b} days.", "For {b} days {name} gets {a} {items} each day."),
        numbers={"a": range(3, 40), "b": range(2, 10)},
        steps=("all=a*b",),
    ),
    Piece(
        name="times_as_many",
        texts=(
            "{friend} has {a} {items}. {name} has {b} times as many {items}.",
            "{name} has {b} times as many {items} as {friend}, who has {a}.",
        ),
        numbers={"a": range(4, 60), "b": range(2, 7)},
        steps=("own=a*b",),
    ),
    Piece(
        name="more_than",
        texts=(
            "{friend} has {a} {items}. {name} has {b} more {items} than {friend}.",
            "{name} has {b} more {items} than {friend}, who has {a}.",
        ),
        numbers={"a": range(5, 150), "b": range(3, 60)},
        steps=("own=a+b",),
    ),
    Piece(
        name="fewer_than",
        texts=(
            "{friend} has {a} {items}. {name} has {b} fewer {items} than {friend}.",
            "{name} has {b} fewer {items} than {friend}, who has {a}.",
        ),
        numbers={"a": range(30, 200), "b": range(3, 60)},
        steps=("own=a-b",),
    ),
)

EVENTS = (
    Piece(
        name="gives",
        texts=(
            "{name} gives {c} {items} to {friend}.",
            "Then {c} of the {items} go to {friend}.",
            "{name} lets {friend} have {c} {items}.",
        ),
        numbers={"c": range(2, 90)},
        steps=("left=x-c",),
    ),
    Piece(
        name="loses",
        texts=("{name} loses {c} {items}.", "Then {c} {items} get lost.", "{c} of the {items} break."),
        numbers={"c": range(2, 60)},
        steps=("left=x-c",),
    ),
    Piece(
        name="sells",
        texts=("{name} sells {c} {items}.", "At {shop} {name} sells {c} of the {items}."),
        numbers={"c": range(2, 99)},
        steps=("left=x-c",),
    ),
    Piece(
        name="buys_more",
        texts=("{name} buys {c} more {items}.", "At {shop} {name} gets {c} more {items}."),
        numbers={"c": range(2, 90)},
        steps=("now=x+c",),
    ),
    Piece(
        name="is_given",
        texts=("{third} gives {name} {c} more {items}.", "{name} gets another {c} {items} from {third}."),
        numbers={"c": range(2, 80)},
        steps=("now=x+c",),
    ),
    Piece(
        name="doubles",
        texts=("Then the number of {items} doubles.", "Soon {name} has twice as many {items}."),
        steps=("now=x*2",),
    ),
    Piece(
        name="half",
        texts=("{name} gives half of the {items} to {friend}.", "Half of the {items} are given away."),
        steps=("left=x/2",),
    ),
    Piece(
        name="gives_to_several",
        texts=(
            "{name} gives {c} {items} to each of {d} friends.",
            "Each of {d} children gets {c} {items} from {name}.",
        ),
        numbers={"c": range(2, 12), "d": range(2, 9)},
        steps=("given=c*d", "left=x-given"),
    ),
    Piece(
        name="buys_packs",
        texts=("{name} buys {d} more {boxes} with {c} {items} in each.",),
        numbers={"c": range(3, 20), "d": range(2, 9)},
        steps=("more=c*d", "now=x+more"),
    ),
    Piece(
        name="every_day",
        texts=(
            "For {d} days {name} uses up {c} {items} a day.",
            "{name} then gives away {c} {items} a day for {d} days.",
        ),
        numbers={"c": range(2, 15), "d": range(2, 8)},
        steps=("used=c*d", "left=x-used"),
    ),
    Piece(
        name="two_losses",
        texts=(
            "{c} {items} are eaten by mice and {d} are stolen.",
            "{name} throws away {c} {items} and hides {d} others.",
        ),
        numbers={"c": range(2, 30), "d": range(2, 30)},
        steps=("gone=c+d", "left=x-gone"),
    ),
    Piece(
        name="third_kept",
        texts=("{name} keeps only a third of the {items}.", "Only a third of the {items} are kept."),
        steps=("left=x/3",),
    ),
)

ENDINGS = (
    Piece(
        name="how_many",
        texts=(
            "How many {items} are there now?",
            "How many {items} does {name} have in the end?",
            "How many {items} does that make?",
        ),
        unit="{items}",
    ),
    Piece(
        name="into_boxes",
        texts=(
            "The {items} are put into {boxes} of {e}. How many {boxes} are needed?",
            "How many {boxes} can be filled if {e} {items} go into each?",
        ),
        numbers={"e": range(2, 10)},
        steps=("filled=x/e",),
        unit="{boxes}",
    ),
    Piece(
        name="shared",
        texts=(
            "The {items} are shared equally among {e} children. How many {items} does each child get?",
            "{e} friends share the {items} equally. How many does each get?",
        ),
        numbers={"e": range(2, 10)},
        steps=("each=x/e",),
        unit="{items}",
    ),
    Piece(
        name="price",
        texts=(
            "Each of the {items} is worth {e} {money}. How many {money} are they worth?",
            "{name} sells all the {items} for {e} {money} each. How many {money} does {name} get?",
        ),
        numbers={"e": range(2, 10)},
        steps=("worth=x*e",),
        unit="{money}",
    ),
    Piece(
        name="friend_times",
        texts=("{third} has {e} times as many {items}. How many {items} does {third} have?",),
        numbers={"e": range(2, 6)},
        steps=("theirs=x*e",),
        unit="{items}",
    ),
    Piece(
        name="friend_fewer",
        texts=("{third} has {e} fewer {items} than that. How many {items} does {third} have?",),
        numbers={"e": range(2, 50)},
        steps=("theirs=x-e",),
        unit="{items}",
    ),
    Piece(
        name="friend_more",
        texts=("{third} has {e} more {items} than that. How many {items} does {third} have?",),
        numbers={"e": range(2, 80)},
        steps=("theirs=x+e",),
        unit="{items}",
    ),
    Piece(
        name="missing",
        texts=("{name} wants to have {e} {items}. How many {items} are missing?",),
        numbers={"e": range(60, 400)},
        steps=("missing=e-x",),
        unit="{items}",
    ),
    Piece(
        name="both",
        texts=("{third} has {e} {items} too. How many {items} are there in all?",),
        numbers={"e": range(5, 150)},
        steps=("all=x+e",),
        unit="{items}",
    ),
)
