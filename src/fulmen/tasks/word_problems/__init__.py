"""Word problems of two to four steps: whole stories, and stories joined from an opening, events and an ending."""

import random

from fulmen.tasks.problem import Problem, ProblemTask
from fulmen.tasks.word_problems.composed import ENDINGS, EVENTS, OPENINGS
from fulmen.tasks.word_problems.everyday import EVERYDAY_STORIES
from fulmen.tasks.word_problems.money import MONEY_STORIES
from fulmen.tasks.word_problems.story import draw_story

WHOLE_STORIES = MONEY_STORIES + EVERYDAY_STORIES


def draw_word_problem(rng: random.Random) -> Problem:
    """A whole story or a joined one, one as often as the other."""
    while True:
        if rng.random() < 0.5:
            pieces = [rng.choice(WHOLE_STORIES)]
        else:
            pieces = [rng.choice(OPENINGS), *rng.sample(EVENTS, rng.randrange(3)), rng.choice(ENDINGS)]
        problem = draw_story(rng, pieces)
        if problem is not None:
            return problem


TASKS = {"word_problems": lambda: ProblemTask(name="word_problems", draw=draw_word_problem)}
"""Names to constructors."""
