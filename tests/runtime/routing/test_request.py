"""Requests of calls are kept, and told apart by type and value."""

import pytest

from pcsr.errors import UsageError
from pcsr.runtime.routing.request import RoutingRequest


def test_the_same_options_give_the_same_request() -> None:
    first = RoutingRequest.of({"k": 0.5, "refine": True})
    assert RoutingRequest.of({"k": 0.5, "refine": True}) is first
    assert RoutingRequest.of({"k": 0.5, "refine": False}) != first


@pytest.mark.parametrize("wrong", [True, [1], {}, "1"])
def test_a_value_of_a_wrong_type_is_refused_after_an_equal_one_was_taken(wrong: object) -> None:
    RoutingRequest.of({"k": 1})
    for _ in range(2):
        with pytest.raises(UsageError, match="k must be a number"):
            RoutingRequest.of({"k": wrong})
