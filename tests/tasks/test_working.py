"""Worked sums are right to the last step, for all signs and lengths."""

import random
from operator import add as plus
from operator import mul, sub

import pytest
from worked_steps import check_steps

from fulmen.tasks.working import add, compare, divide, multiply, subtract


@pytest.mark.parametrize(("work", "operation"), [(add, plus), (subtract, sub), (multiply, mul)])
def test_all_small_numbers(work, operation) -> None:
    for a in range(-25, 120, 3):
        for b in range(-25, 120):
            worked = work(a, b)
            assert worked.result == operation(a, b)
            assert worked.text.endswith(f"={worked.result}")
            assert check_steps(worked.text) >= 1


@pytest.mark.parametrize(("work", "operation"), [(add, plus), (subtract, sub), (multiply, mul)])
def test_long_numbers(work, operation) -> None:
    rng = random.Random(0)
    for _ in range(2000):
        a, b = (rng.choice((-1, 1)) * rng.randrange(10 ** rng.randint(1, 6)) for _ in range(2))
        worked = work(a, b)
        assert worked.result == operation(a, b)
        assert worked.text.endswith(f"={worked.result}")
        check_steps(worked.text)


def test_division() -> None:
    for a in [*range(300), 999, 1000, 7003, 9999]:
        for b in range(1, 25):
            worked = divide(a, b)
            remainder = f"r{a % b}" if a % b else ""
            assert worked.result == a // b
            assert worked.text.endswith(f"={a // b}{remainder}")
            check_steps(worked.text.rpartition("=")[0])


def test_the_forms_by_hand() -> None:
    assert add(347, 85).text == "347+085:7+5+0=12,2;4+8+1=13,32;3+0+1=04,432;=432"
    assert add(7, 5).text == "7+5=12"
    assert subtract(52, 87).text == "52-87:5<8;-(87-52):7-2-0=5-00,5;8-5-0=3-00,35;=-35"
    assert subtract(320, 320).text == "320-320:3=3,2=2,0=0;=0"
    assert multiply(47, 6).text == "47*6:7*6=42,42+0=42,2;4*6=24,24+4=28,282;=282"
    assert divide(347, 6).text == "347/6:34:5*6=30,34-30=4,5;47:7*6=42,47-42=5,57;=57r5"
    assert compare(347, 371) == "3=3,4<7"
    assert compare(47, 371) == "0<3"


@pytest.mark.parametrize(("a", "b"), [(5, 0), (-5, 2), (5, -2)])
def test_division_names_what_it_cannot_divide(a, b) -> None:
    with pytest.raises(ValueError, match=f"{a} / {b}"):
        divide(a, b)
