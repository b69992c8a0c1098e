"""Whole stories about travel, time, ages, work, places and parts of a whole."""

from fulmen.tasks.word_problems.story import Piece

EVERYDAY_STORIES = (
    Piece(
        name="two_speeds",
        texts=(
            "A {vehicle} goes {a} kilometers an hour for {b} hours and then {c} kilometers an hour for {d} hours. "
            "How many kilometers is that?",
        ),
        numbers={"a": range(10, 90), "b": range(2, 6), "c": range(10, 90), "d": range(2, 6)},
        steps=("first=a*b", "second=c*d", "total=first+second"),
        unit="kilometers",
    ),
    Piece(
        name="rest_of_the_way",
        texts=(
            "From {town} to {city} it is {a} kilometers. A {vehicle} goes {b} kilometers an hour for {c} hours. "
            "How many kilometers are left?",
            "{name} travels {a} kilometers to {city}. After {c} hours at {b} kilometers an hour, how far is it still?",
        ),
        numbers={"a": range(100, 600), "b": range(20, 100), "c": range(2, 6)},
        steps=("gone=b*c", "left=a-gone"),
        unit="kilometers",
    ),
    Piece(
        name="hours_of_the_rest",
        texts=(
            "The road to {city} is {a} kilometers long. {name} has gone {b} kilometers and goes {c} kilometers an hour."
            " How many hours are left?",
        ),
        numbers={"a": range(50, 400), "b": range(10, 200), "c": range(3, 10)},
        steps=("left=a-b", "hours=left/c"),
        unit="hours",
    ),
    Piece(
        name="there_and_back",
        texts=(
            "It is {a} kilometers to {place}. {name} goes there and back on {b} days. How many kilometers is that?",
            "{name} walks {a} kilometers to {place} and the same way home, {b} times. How many kilometers in all?",
        ),
        numbers={"a": range(2, 60), "b": range(2, 10)},
        steps=("both_ways=a*2", "total=both_ways*b"),
        unit="kilometers",
    ),
    Piece(
        name="fuel",
        texts=(
            "A {vehicle} needs {a} liters for each hour. It has {b} liters and drives for {c} hours. "
            "How many liters are left?",
        ),
        numbers={"a": range(3, 20), "b": range(40, 200), "c": range(2, 9)},
        steps=("used=a*c", "left=b-used"),
        unit="liters",
    ),
    Piece(
        name="age_in_years",
        texts=(
            "{name} is {a} years old. {friend} is {b} years older. How old will {friend} be in {c} years?",
            "{friend} is {b} years older than {name}, who is {a}. What is the age of {friend} in {c} years?",
        ),
        numbers={"a": range(4, 50), "b": range(2, 30), "c": range(2, 25)},
        steps=("friend=a+b", "later=friend+c"),
        unit="years",
    ),
    Piece(
        name="age_times",
        texts=(
            "{name} is {a} years old. {friend} is {b} times as old. How many years older is {friend} than {name}?",
        ),
        numbers={"a": range(4, 25), "b": range(2, 6)},
        steps=("friend=a*b", "older=friend-a"),
        unit="years",
    ),
    Piece(
        name="age_sum",
        texts=(
            "{name} is {a} years old and {friend} is {b} years younger. How old are they together?",
            "{friend} is {b} years younger than {name}, who is {a}. What is the sum of their ages?",
        ),
        numbers={"a": range(12, 80), "b": range(2, 40)},
        steps=("friend=a-b", "together=a+friend"),
        unit="years",
    ),
    Piece(
        name="age_half",
        texts=("{name} is {a} years old. {friend} is half as old. How old was {friend} {b} years ago?",),
        numbers={"a": range(10, 80, 2), "b": range(2, 20)},
        steps=("friend=a/2", "ago=friend-b"),
        unit="years",
    ),
    Piece(
        name="minutes",
        texts=(
            "{name} practises {a} minutes a day for {b} days and once {c} minutes more. How many minutes is that?",
            "A lesson lasts {a} minutes. How many minutes do {b} lessons and {c} minutes of breaks last?",
        ),
        numbers={"a": range(10, 60), "b": range(2, 9), "c": range(5, 60)},
        steps=("lessons=a*b", "total=lessons+c"),
        unit="minutes",
    ),
    Piece(
        name="hours_to_minutes",
        texts=(
            "A film lasts {a} hours and {b} minutes. {name} has seen {c} minutes of it. How many minutes are left?",
        ),
        numbers={"a": range(2, 5), "b": range(5, 60), "c": range(10, 200)},
        steps=("hours=a*60", "film=hours+b", "left=film-c"),
        unit="minutes",
    ),
    Piece(
        name="weeks_and_days",
        texts=("{name} stays in {city} for {a} weeks and {b} days. How many days are left after {c} days?",),
        numbers={"a": range(2, 12), "b": range(2, 7), "c": range(2, 60)},
        steps=("weeks=a*7", "days=weeks+b", "left=days-c"),
        unit="days",
    ),
    Piece(
        name="pages",
        texts=(
            "A book has {a} pages. {name} reads {b} pages a day for {c} days. How many pages are left?",
            "{name} reads {b} pages of a book every evening. How many of its {a} pages are unread after {c} evenings?",
        ),
        numbers={"a": range(80, 500), "b": range(5, 50), "c": range(2, 10)},
        steps=("read=b*c", "left=a-read"),
        unit="pages",
    ),
    Piece(
        name="days_for_pages",
        texts=("A book has {a} pages. {name} has read {b}. How many days does the rest take at {c} pages a day?",),
        numbers={"a": range(60, 300), "b": range(10, 150), "c": range(3, 10)},
        steps=("left=a-b", "days=left/c"),
        unit="days",
    ),
    Piece(
        name="machine_rate",
        texts=(
            "A {machine} makes {a} {goods} in {b} minutes. How many {goods} does it make in {c} minutes?",
            "In {b} minutes a {machine} finishes {a} {goods}. How many does it finish in {c} minutes?",
        ),
        numbers={"a": range(6, 90), "b": range(2, 10), "c": range(3, 40)},
        steps=("each_minute=a/b", "made=each_minute*c"),
        unit="{goods}",
    ),
    Piece(
        name="two_machines",
        texts=(
            "One {machine} makes {a} {goods} an hour, another {b}. "
            "How many {goods} do they make in {c} hours together?",
        ),
        numbers={"a": range(5, 60), "b": range(5, 60), "c": range(2, 10)},
        steps=("hour=a+b", "made=hour*c"),
        unit="{goods}",
    ),
    Piece(
        name="seats",
        texts=(
            "A hall has {a} rows of {b} seats. {c} seats are taken. How many seats are free?",
            "In {place} there are {a} rows with {b} seats each, and {c} people sit there. How many seats are empty?",
        ),
        numbers={"a": range(4, 25), "b": range(5, 30), "c": range(10, 300)},
        steps=("seats=a*b", "free=seats-c"),
        unit="seats",
    ),
    Piece(
        name="legs",
        texts=(
            "On a farm there are {a} hens and {b} cows. How many legs do they have together?",
            "{name} counts the legs of {a} ducks and {b} goats. How many are there?",
        ),
        numbers={"a": range(2, 40), "b": range(2, 40)},
        steps=("birds=a*2", "others=b*4", "legs=birds+others"),
        unit="legs",
    ),
    Piece(
        name="farm",
        texts=(
            "A farm has {a} {animals} and {b} times as many {herd}. How many animals is that?",
            "{name} keeps {a} {animals}, and {b} times as many {herd}. How many animals does {name} keep?",
        ),
        numbers={"a": range(4, 60), "b": range(2, 8)},
        steps=("others=a*b", "total=a+others"),
        unit="animals",
    ),
    Piece(
        name="twice_and_fewer",
        texts=(
            "{name} has {a} {items}. {friend} has twice as many. {third} has {b} fewer than {friend}. "
            "How many {items} does {third} have?",
        ),
        numbers={"a": range(5, 100), "b": range(2, 60)},
        steps=("friend=a*2", "third=friend-b"),
        unit="{items}",
    ),
    Piece(
        name="three_together",
        texts=(
            "{name} has {a} {items}. {friend} has {b} more than {name}. {third} has {c}. "
            "How many do they have together?",
        ),
        numbers={"a": range(4, 80), "b": range(2, 40), "c": range(4, 80)},
        steps=("friend=a+b", "two=a+friend", "all=two+c"),
        unit="{items}",
    ),
    Piece(
        name="class_in_groups",
        texts=(
            "{a} girls and {b} boys form groups of {c}. How many groups are there?",
            "A class of {a} girls and {b} boys goes to {place} in cars for {c} children. How many cars are needed?",
        ),
        numbers={"a": range(6, 40), "b": range(6, 40), "c": range(2, 10)},
        steps=("children=a+b", "groups=children/c"),
        unit="",
    ),
    Piece(
        name="percent_of_people",
        texts=(
            "{a} people come to {place}. {b} percent of them are children. How many adults come?",
            "Of {a} {items} {b} percent are broken. How many are whole?",
        ),
        numbers={"a": range(20, 500, 10), "b": (10, 20, 30, 40, 60, 70)},
        steps=("percent_in_tens=b/10", "tenth=a/10", "part=tenth*percent_in_tens", "rest=a-part"),
    ),
    Piece(
        name="quarter",
        texts=(
            "{name} has {a} {items} and gives a quarter of them to {friend}. How many {items} does {name} keep?",
            "A quarter of the {a} {items} are green. How many are not green?",
        ),
        numbers={"a": range(8, 400, 4)},
        steps=("quarter=a/4", "rest=a-quarter"),
        unit="{items}",
    ),
    Piece(
        name="tank",
        texts=(
            "A tank holds {a} liters. Each minute {b} liters flow in and {c} liters flow out. "
            "How many liters are in it after {d} minutes, if it was empty?",
        ),
        numbers={"a": range(200, 900, 100), "b": range(8, 40), "c": range(2, 20), "d": range(2, 13)},
        steps=("each_minute=b-c", "liters=each_minute*d"),
        unit="liters",
    ),
    Piece(
        name="rectangle",
        texts=(
            "A garden is {a} meters long and {b} meters wide. How many meters of fence go around it?",
            "What is the perimeter of a field of {a} by {b} meters?",
        ),
        numbers={"a": range(5, 150), "b": range(3, 90)},
        steps=("half=a+b", "fence=half*2"),
        unit="meters",
    ),
    Piece(
        name="rope",
        texts=(
            "{name} cuts {a} pieces of {b} meters from a rope of {c} meters. How many meters of rope are left?",
        ),
        numbers={"a": range(2, 10), "b": range(2, 20), "c": range(30, 200)},
        steps=("cut=a*b", "left=c-cut"),
        unit="meters",
    ),
    Piece(
        name="bus_stops",
        texts=(
            "{a} people are in a bus. At the first stop {b} get off and {c} get on. At the second stop {d} get off. "
            "How many people are in the bus now?",
        ),
        numbers={"a": range(15, 80), "b": range(2, 30), "c": range(2, 30), "d": range(2, 30)},
        steps=("off=a-b", "on=off+c", "now=on-d"),
        unit="people",
    ),
    Piece(
        name="score",
        texts=(
            "{name} wins {a} games with {b} points each and loses {c} points. How many points does {name} have?",
        ),
        numbers={"a": range(2, 15), "b": range(3, 25), "c": range(2, 60)},
        steps=("won=a*b", "points=won-c"),
        unit="points",
    ),
    Piece(
        name="weight",
        texts=(
            "A box weighs {a} kilograms. {b} {goods} of {c} kilograms each are put into it. "
            "How many kilograms does the full box weigh?",
        ),
        numbers={"a": range(2, 20), "b": range(2, 20), "c": range(2, 10)},
        steps=("goods=b*c", "total=goods+a"),
        unit="kilograms",
    ),
    Piece(
        name="flowers_in_rows",
        texts=(
            "{name} plants {a} rows of {b} roses and {c} rows of {d} tulips. How many flowers are there?",
        ),
        numbers={"a": range(2, 10), "b": range(3, 20), "c": range(2, 10), "d": range(3, 20)},
        steps=("roses=a*b", "tulips=c*d", "flowers=roses+tulips"),
        unit="flowers",
    ),
)  # fmt: skip
