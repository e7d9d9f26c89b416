"""The choice of an endpoint: four strategies, weights, rests, full ones, broken ones."""

from __future__ import annotations

from collections import Counter

import pytest
from engine_parts import endpoint, pool_of
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.engine.endpoints import STRATEGIES, Choice, Endpoint
from api_backends.errors import ConfigurationError


def picks(pool, count, avoid=()):
    return [pool.choose(0.0, None, avoid).id for _ in range(count)]


def test_round_robin_takes_turns_by_weight():
    pool = pool_of(endpoint("a", weight=3.0), endpoint("b"), endpoint("c"))
    assert Counter(picks(pool, 50)) == {"a": 30, "b": 10, "c": 10}
    assert "aaa" not in "".join(picks(pool, 50))  # spread, not in blocks


def test_asking_for_an_alternative_takes_no_turn():
    pool = pool_of(endpoint("a"), endpoint("b"), endpoint("c"))
    a = pool.get("a")
    for _ in range(5):
        assert pool.has_alternative(0.0, (a,))
    assert Counter(picks(pool, 6)) == {"a": 2, "b": 2, "c": 2}


def test_least_loaded_counts_places_against_weights():
    pool = pool_of(endpoint("a", weight=2.0), endpoint("b"), strategy="least-loaded")
    for _ in range(9):
        pool.choose(0.0, None, ()).active += 1
    assert (pool.get("a").active, pool.get("b").active) == (6, 3)


def test_priority_uses_the_first_until_it_is_full():
    pool = pool_of(
        endpoint("late", priority=2),
        endpoint("first", priority=0, max_concurrent_requests=1),
        strategy="priority",
    )
    assert picks(pool, 2) == ["first", "first"]
    pool.get("first").active = 1
    assert picks(pool, 1) == ["late"]


def test_random_follows_the_weights():
    marks = iter([0.0, 0.24, 0.26, 0.99])
    pool = pool_of(
        endpoint("a"), endpoint("b", weight=3.0), strategy="random", random=lambda: next(marks)
    )
    assert picks(pool, 4) == ["a", "a", "b", "b"]


def test_avoided_ones_are_the_last_resort():
    pool = pool_of(endpoint("a"), endpoint("b"))
    a, b = pool.get("a"), pool.get("b")
    assert picks(pool, 3, avoid=(a,)) == ["b"] * 3
    assert set(picks(pool, 4, avoid=(a, b))) == {"a", "b"}


def test_says_what_is_waited_for():
    rests, broken, full = endpoint("r"), endpoint("b", threshold=1), endpoint("f")
    rests.resting_until = 7.0
    broken.breaker.failed("x", 0.0)
    full.max_concurrent_requests = 0
    assert pool_of(rests).choose(0.0, None, ()) == Choice(rested_at=7.0)
    assert pool_of(broken).choose(0.0, None, ()) == Choice(retry_at=30.0)
    assert pool_of(full).choose(0.0, None, ()) == Choice(busy=True)
    assert pool_of(rests, broken, full).choose(0.0, None, ()) == Choice(True, 7.0, 30.0)


def test_own_key_does_not_rest():
    rests = endpoint("r")
    rests.resting_until = 7.0
    assert pool_of(rests).choose(0.0, None, (), ignores_rest=True) is rests


def test_named_only_endpoints_are_not_in_rotation():
    hidden = endpoint("hidden", in_rotation=False)
    pool = pool_of(endpoint("a"), hidden)
    assert set(picks(pool, 4)) == {"a"}
    assert pool.choose(0.0, hidden, ()) is hidden


def test_taken_and_unknown_ids_are_refused():
    pool = pool_of(endpoint("a"))
    with pytest.raises(ConfigurationError, match="already"):
        pool.add(endpoint("a"))
    with pytest.raises(ConfigurationError, match="there are: a"):
        pool.get("b")
    with pytest.raises(ConfigurationError):
        pool.get(["a"])


STATE = st.tuples(
    st.integers(0, 3),  # active
    st.sampled_from([None, 1, 3]),  # limit
    st.sampled_from([0.0, 5.0, 20.0]),  # resting until
    st.sampled_from(["closed", "open", "due", "probing"]),
    st.booleans(),  # in rotation
    st.booleans(),  # avoided
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STATE, min_size=1, max_size=5), st.sampled_from(STRATEGIES))
def test_any_choice_is_a_usable_endpoint_and_none_is_overlooked(states, strategy):
    now = 10.0
    made, avoid, usable = [], [], []
    for number, (active, limit, rest, circuit, rotating, avoided) in enumerate(states):
        each = endpoint(str(number), threshold=1, max_concurrent_requests=limit)
        each.active, each.resting_until, each.in_rotation = active, rest, rotating
        if circuit != "closed":
            each.breaker.failed("x", 0.0)
            each.breaker.retry_at = 50.0 if circuit == "open" else 1.0
        if circuit == "probing":
            each.breaker.enter("p")
        made.append(each)
        if avoided:
            avoid.append(each)
        free = limit is None or active < limit
        if rotating and free and rest <= now and circuit in ("closed", "due"):
            usable.append(each)
    found = pool_of(*made, strategy=strategy).choose(now, None, avoid)
    if not usable:
        assert isinstance(found, Choice)
        return
    assert isinstance(found, Endpoint)
    assert found in usable
    better = [each for each in usable if each not in avoid]
    if better:
        assert found in better
