"""Whole stories about money: prices, change, wages, savings and discounts."""

from fulmen.tasks.word_problems.story import Piece

MONEY_STORIES = (
    Piece(
        name="change",
        texts=(
            "{name} buys {a} {goods} for {b} {money} each and pays with {c} {money}. "
            "How many {money} does {name} get back?",
            "At {shop} {name} takes {a} {goods} at {b} {money} each. {name} has {c} {money}. "
            "How many {money} are left?",
        ),
        numbers={"a": range(2, 10), "b": range(2, 30), "c": (20, 50, 100, 200)},
        steps=("cost=a*b", "change=c-cost"),
        unit="{money}",
    ),
    Piece(
        name="two_goods",
        texts=(
            "{name} buys {a} {goods} for {b} {money} each and {c} {wares} for {d} {money} each. "
            "How many {money} does {name} pay?",
            "One of the {goods} costs {b} {money} and one of the {wares} {d} {money}. "
            "What do {a} {goods} and {c} {wares} cost together?",
        ),
        numbers={"a": range(2, 10), "b": range(2, 20), "c": range(2, 10), "d": range(2, 20)},
        steps=("first=a*b", "second=c*d", "total=first+second"),
        unit="{money}",
    ),
    Piece(
        name="two_goods_change",
        texts=(
            "{name} pays {a} {money} for {goods} and {b} {money} for {wares}. {name} had {c} {money}. "
            "How many {money} are left?",
            "{name} goes to {shop} with {c} {money}, spends {a} {money} on {goods} and {b} on {wares}. "
            "How many {money} does {name} bring home?",
        ),
        numbers={"a": range(3, 60), "b": range(3, 60), "c": (50, 100, 120, 150, 200)},
        steps=("spent=a+b", "left=c-spent"),
        unit="{money}",
    ),
    Piece(
        name="price_of_others",
        texts=(
            "{a} {goods} cost {b} {money}. How many {money} do {c} {goods} cost?",
            "{name} paid {b} {money} for {a} {goods}. What would {c} {goods} cost at the same price?",
        ),
        numbers={"a": range(2, 10), "b": range(6, 120), "c": range(2, 13)},
        steps=("one=b/a", "cost=one*c"),
        unit="{money}",
    ),
    Piece(
        name="saves_weekly",
        texts=(
            "{name} saves {a} {money} a week for {b} weeks and then spends {c} {money}. How many {money} are left?",
            "Every week {name} puts {a} {money} aside. After {b} weeks {name} pays {c} {money} for {goods}. "
            "How many {money} remain?",
        ),
        numbers={"a": range(3, 30), "b": range(2, 13), "c": range(5, 150)},
        steps=("saved=a*b", "left=saved-c"),
        unit="{money}",
    ),
    Piece(
        name="weeks_to_save",
        texts=(
            "A bicycle costs {a} {money}. {name} has {b} {money} and saves {c} {money} a week. "
            "How many weeks does it take?",
            "{name} has {b} {money} and wants a phone for {a} {money}. "
            "How many weeks must {name} save if {name} saves {c} {money} a week?",
        ),
        numbers={"a": range(60, 300), "b": range(5, 100), "c": range(2, 10)},
        steps=("missing=a-b", "weeks=missing/c"),
        unit="weeks",
    ),
    Piece(
        name="wage",
        texts=(
            "{name} earns {a} {money} an hour and works {b} hours a day. "
            "How many {money} does {name} earn in {c} days?",
            "For an hour of work {name} gets {a} {money}. "
            "How many {money} are that for {c} days of {b} hours each?",
        ),
        numbers={"a": range(5, 30), "b": range(2, 9), "c": range(2, 8)},
        steps=("day=a*b", "earned=day*c"),
        unit="{money}",
    ),
    Piece(
        name="wage_and_tip",
        texts=(
            "{name} works {b} hours for {a} {money} an hour and gets {c} {money} as a tip. "
            "How many {money} does {name} have then?",
        ),
        numbers={"a": range(5, 40), "b": range(2, 10), "c": range(2, 60)},
        steps=("wage=a*b", "all=wage+c"),
        unit="{money}",
    ),
    Piece(
        name="discount",
        texts=(
            "A coat costs {a} {money}. Today it is {b} percent cheaper. How many {money} does it cost today?",
            "{name} gets {b} percent off a price of {a} {money}. How many {money} does {name} pay?",
        ),
        numbers={"a": range(20, 500, 10), "b": (10, 20, 30, 40, 60, 70)},
        steps=("percent_in_tens=b/10", "tenth=a/10", "off=tenth*percent_in_tens", "price=a-off"),
        unit="{money}",
    ),
    Piece(
        name="half_price",
        texts=(
            "Usually one of the {goods} costs {a} {money}; today it is half the price. "
            "How many {money} do {b} {goods} cost?",
        ),
        numbers={"a": range(4, 100, 2), "b": range(2, 10)},
        steps=("half=a/2", "cost=half*b"),
        unit="{money}",
    ),
    Piece(
        name="profit",
        texts=(
            "{name} buys {a} {goods} for {b} {money} each and sells them for {c} {money} each. "
            "How many {money} does {name} gain?",
            "A trader gets {a} {goods} at {b} {money} and sells each at {c} {money}. What is the profit?",
        ),
        numbers={"a": range(3, 30), "b": range(2, 20), "c": range(5, 40)},
        steps=("gain=c-b", "profit=a*gain"),
        unit="{money}",
    ),
    Piece(
        name="tickets",
        texts=(
            "A ticket costs {a} {money} for adults and {b} {money} for children. "
            "How many {money} do {c} adults and {d} children pay?",
        ),
        numbers={"a": range(5, 25), "b": range(2, 12), "c": range(2, 8), "d": range(2, 10)},
        steps=("adults=a*c", "children=b*d", "total=adults+children"),
        unit="{money}",
    ),
    Piece(
        name="shared_bill",
        texts=(
            "{a} friends eat for {b} {money} and drink for {c} {money}. They share the bill equally. "
            "How many {money} does each pay?",
        ),
        numbers={"a": range(2, 10), "b": range(10, 150), "c": range(4, 90)},
        steps=("bill=b+c", "each=bill/a"),
        unit="{money}",
    ),
    Piece(
        name="deposit",
        texts=(
            "A sofa costs {a} {money}. {name} pays {b} {money} at once and the rest in {c} equal parts. "
            "How many {money} is one part?",
        ),
        numbers={"a": range(100, 800, 10), "b": range(20, 200, 10), "c": range(2, 10)},
        steps=("rest=a-b", "part=rest/c"),
        unit="{money}",
    ),
)  # fmt: skip
