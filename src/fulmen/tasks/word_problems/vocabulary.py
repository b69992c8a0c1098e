"""The words that word problems are filled with, and sentences that say something beside the point."""

NAMES = (
    "Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jack", "Kira", "Liam", "Mia", "Noah",
    "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Xenia", "Yuki", "Zoe", "Anna", "Bob",
    "Carlos", "Dina", "Eli", "Fatima", "Gil", "Hana", "Ivan", "Jane", "Kofi", "Lena", "Marco", "Nina", "Omar", "Priya",
    "Ravi", "Sara", "Tom", "Lucy", "Peter", "Maria", "Alice", "Daniel",
)  # fmt: skip

# fmt: off
WORDS: dict[str, tuple[str, ...]] = {
    "items": (
        "apples", "marbles", "stickers", "pencils", "cookies", "oranges", "stamps", "cards", "shells", "balloons",
        "books", "candies", "beads", "buttons", "pears", "toys", "coins", "flowers", "erasers", "lemons", "stones",
        "cherries", "postcards", "plums", "muffins", "badges", "keys", "figs", "nuts", "ribbons",
    ),
    "goods": (
        "notebooks", "pens", "cups", "plates", "shirts", "hats", "cakes", "sandwiches", "tickets", "candles", "bottles",
        "plants", "scarves", "brushes", "lamps", "magazines", "pizzas", "chairs", "towels", "melons",
    ),
    "boxes": ("boxes", "bags", "baskets", "jars", "packs", "crates", "trays", "drawers", "bowls", "tins"),
    "money": ("dollars", "euros", "pounds", "francs", "crowns"),
    "place": ("the school", "the library", "the village", "the museum", "the park", "the club", "the farm", "the camp"),
    "shop": ("the shop", "the market", "the store", "the bakery", "the kiosk"),
    "town": ("Paris", "Oslo", "Lima", "Cairo", "Delhi", "Porto", "Ghent", "Turin", "Leeds", "Graz", "Osaka", "Quito"),
    "animals": ("cows", "sheep", "goats", "hens", "ducks", "horses", "pigs", "rabbits"),
    "vehicle": ("train", "bus", "car", "truck", "van", "ship"),
    "machine": ("machine", "printer", "robot", "press", "oven"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
}
# fmt: on
"""Kinds of words; a text names one in braces."""

DISTRACTORS = (
    "It is {n} degrees outside.",
    "The walk to {shop} takes {n} minutes.",
    "{third} is {n} years old.",
    "{third} has {n} {others} at home.",
    "The street has {n} houses.",
    "There are {n} people in {place}.",
    "The door has the number {n}.",
    "{third} lives {n} kilometers away.",
    "It is {day}.",
    "The weather is fine.",
    "{third} likes {others}.",
    "Last week there were {n} {animals} in the field.",
    "{third} read {n} pages yesterday.",
    "The clock on the wall is {n} minutes slow.",
    "A bus comes every {n} minutes.",
    "{third} is the tallest of all.",
    "The house was built {n} years ago.",
    "{third} has been to {town} {n} times.",
)
"""Sentences that change nothing."""
