"""What a person turns is checked where it is declared."""

from __future__ import annotations

import pytest

from llm.controls import Control, checked

RANK = Control("rank", "integer", 8, minimum=1, maximum=64, step=1)
METHOD = Control("method", "choice", "lora", choices=("lora", "full"))


@pytest.mark.parametrize("value", [0, 65, 1.5, "8", True, None, float("nan")])
def test_what_is_out_of_range_or_of_another_kind_is_refused_by_name(value):
    with pytest.raises(ValueError, match="rank"):
        RANK.check(value)


def test_values_are_given_or_stand_at_their_defaults():
    assert checked([RANK, METHOD], {"rank": 16.0}) == {"rank": 16, "method": "lora"}
    with pytest.raises(ValueError, match="unknown settings rnak; known are rank, method"):
        checked([RANK, METHOD], {"rnak": 1})
    with pytest.raises(ValueError, match="one of lora, full"):
        METHOD.check("qlora")


def test_only_an_optional_one_may_be_left_open():
    assert Control("seed", "integer", None, optional=True).check(None) is None
    assert Control("stop", "lines", ()).check(["a", "b"]) == ("a", "b")
    with pytest.raises(ValueError, match="list of texts"):
        Control("stop", "lines", ()).check("ab")
