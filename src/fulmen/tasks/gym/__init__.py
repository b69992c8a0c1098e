"""Tasks of reasoning-gym with step-by-step solutions: what a small model can learn of them.

All are in their default configurations but for these, which are made easier: products of numbers up to 99, greatest
common divisors of numbers up to 100, prime factors of numbers up to 200, complex numbers without division, haystacks
of at most 30 statements, and time intervals between clock times without date or milliseconds. Machines and blocks start
from at most 216 different counts each, so their test splits are small.
"""

from collections.abc import Callable, Mapping

from fulmen.tasks.gym.letters import (
    solve_isomorphic_strings,
    solve_letter_counting,
    solve_palindrome_generation,
    solve_ransom_note,
    solve_spell_backward,
)
from fulmen.tasks.gym.logic import (
    solve_aiw,
    solve_color_cube_rotation,
    solve_family_relationships,
    solve_syllogism,
)
from fulmen.tasks.gym.numbers import (
    solve_chain_sum,
    solve_complex_arithmetic,
    solve_gcd,
    solve_leg_counting,
    solve_number_filtering,
    solve_number_sorting,
    solve_prime_factorization,
    solve_products,
    solve_simple_geometry,
)
from fulmen.tasks.gym.processes import solve_binary_alternation, solve_rules, solve_time_intervals
from fulmen.tasks.gym.task import GymTask, require_reasoning_gym
from fulmen.tasks.gym.words import solve_needle_haystack, solve_word_sequence_reversal, solve_word_sorting

_TASKS = (
    GymTask(dataset="letter_counting", solve=solve_letter_counting),
    GymTask(dataset="spell_backward", solve=solve_spell_backward),
    GymTask(dataset="isomorphic_strings", solve=solve_isomorphic_strings),
    GymTask(dataset="palindrome_generation", solve=solve_palindrome_generation),
    GymTask(dataset="ransom_note", solve=solve_ransom_note),
    GymTask(dataset="word_sequence_reversal", solve=solve_word_sequence_reversal),
    GymTask(dataset="word_sorting", solve=solve_word_sorting),
    GymTask(dataset="needle_haystack", solve=solve_needle_haystack, config={"max_num_statements": 30}),
    GymTask(dataset="leg_counting", solve=solve_leg_counting),
    GymTask(dataset="chain_sum", solve=solve_chain_sum),
    GymTask(dataset="products", solve=solve_products, config={"max_digits": 2}),
    GymTask(
        dataset="complex_arithmetic",
        solve=solve_complex_arithmetic,
        config={"operations": ("+", "-", "*"), "operations_weights": (0.4, 0.4, 0.2)},
    ),
    GymTask(dataset="simple_geometry", solve=solve_simple_geometry),
    GymTask(dataset="gcd", solve=solve_gcd, config={"max_value": 100}),
    GymTask(dataset="prime_factorization", solve=solve_prime_factorization, config={"max_value": 200}),
    GymTask(dataset="number_filtering", solve=solve_number_filtering),
    GymTask(dataset="number_sorting", solve=solve_number_sorting),
    GymTask(dataset="syllogism", solve=solve_syllogism),
    GymTask(dataset="family_relationships", solve=solve_family_relationships),
    GymTask(dataset="aiw", solve=solve_aiw),
    GymTask(dataset="color_cube_rotation", solve=solve_color_cube_rotation),
    GymTask(dataset="binary_alternation", solve=solve_binary_alternation),
    GymTask(dataset="string_splitting", solve=solve_rules),
    GymTask(dataset="string_synthesis", solve=solve_rules),
    GymTask(dataset="time_intervals", solve=solve_time_intervals, config={"task_types": ("time", "time_seconds")}),
)


def _constructor(task: GymTask) -> Callable[[], GymTask]:
    def make() -> GymTask:
        require_reasoning_gym(task.name)
        return task

    return make


TASKS: Mapping[str, Callable[[], GymTask]] = {task.name: _constructor(task) for task in _TASKS}
"""Names to constructors."""

EASED: Mapping[str, str] = {
    task.name: ", ".join(f"{option} {value}" for option, value in task.config.items()) for task in _TASKS if task.config
}
"""Of the tasks that are easier than reasoning-gym's defaults, what differs."""
