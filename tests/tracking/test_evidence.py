"""Paired decisions, by independent means: sums of binomial coefficients, and simulated networks."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifline.tracking.evidence import Decision, Evidence, compare_decisions, read_decisions

COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS)
def test_p_is_the_exact_share_of_what_is_as_uneven(gained, lost):
    telling = gained + lost
    tail = sum(Fraction(comb(telling, count), 2**telling) for count in range(min(gained, lost) + 1))
    assert Evidence(1_000, gained, lost).p_value == pytest.approx(float(min(1, 2 * tail)), rel=1e-9)


def test_a_p_that_no_float_can_hold_is_told_to_be_small():
    assert ", p < 1e-300, exact" in Evidence(10_000, 9_000, 0).describe(0.01)
    assert ", p 0.5, exact" in Evidence(10_000, 2, 0).describe(0.01)


@pytest.mark.parametrize(("gained", "told"), [(1, "1 image gained, 2 lost"), (1_200, "1,200 images gained, 2 lost")])
def test_one_image_is_told_as_one(gained, told):
    assert f": {told}, of 10,000)" in Evidence(10_000, gained, 2).describe(0.01)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(0)
    for level, only_second in ((0.05, 0.003), (0.05, 0.0005), (0.2, 0.01)):
        intervals = [
            simulated(generator, only_first=0.003, only_second=only_second, num_images=10_000).interval(level)
            for _ in range(4_000)
        ]
        held = np.mean([low <= only_second - 0.003 <= high for low, high in intervals])
        assert abs(held - (1 - level)) < 0.015


def simulated(generator, *, only_first, only_second, num_images):
    """Evidence on networks that are right alone with these probabilities."""
    shares = [only_second, only_first, 1 - only_first - only_second]
    gained, lost, _ = generator.multinomial(num_images, shares)
    return Evidence(num_images, int(gained), int(lost))


def test_as_many_images_as_are_needed_find_the_difference_in_four_cases_of_five():
    generator = np.random.default_rng(0)
    asked = Evidence(10_000, 60, 30)
    needed = asked.images_needed(0.05)
    found = [
        simulated(generator, only_first=0.003, only_second=0.006, num_images=needed).p_value < 0.05
        for _ in range(2_000)
    ]
    assert 0.76 < np.mean(found) < 0.84
    assert Evidence(100, 3, 3).images_needed(0.05) is None


def test_decisions_are_compared_image_by_image():
    first = [Decision("3", "3"), Decision("3", "5"), Decision("a,b", "a,b"), Decision("7", "1")]
    second = [Decision("3", "5"), Decision("3", "3"), Decision("a,b", "a,b"), Decision("7", "7")]
    assert compare_decisions(first, second) == Evidence(4, num_gained=2, num_lost=1)
    assert compare_decisions(first, second[:3]) is None
    assert compare_decisions([], []) is None


def test_a_table_of_decisions_is_read_or_refused():
    assert read_decisions(b'actual,predicted\n"a,b",c\n') == [Decision("a,b", "c")]
    for content in (b"", b"actual\n1\n", b"actual,predicted\n1\n", b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011
            read_decisions(content)
