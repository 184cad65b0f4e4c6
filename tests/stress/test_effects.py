"""Effects of transactions, in logs made by hand."""

import pytest

from tests.stress.effects import effects
from tests.stress.tape import Tape


@pytest.fixture
def tape() -> Tape:
    """A job with an effect that was claimed."""
    tape = Tape()
    tape.defer(3, script=("retry", "succeed"))
    tape.claim(3)
    return tape


def test_an_effect_with_an_end_is_right(tape: Tape) -> None:
    tape.end(3)
    tape.effects.append((3, 1))
    assert effects(tape.log()) == []


def test_an_attempt_that_did_not_succeed_has_none(tape: Tape) -> None:
    tape.end(3, "todo")
    assert effects(tape.log()) == []
    tape.effects.append((3, 1))
    [violation] = effects(tape.log())
    assert "which did not succeed" in str(violation)


def test_one_that_is_there_twice_or_not_at_all_is_wrong(tape: Tape) -> None:
    tape.end(3)
    [missing] = effects(tape.log())
    assert "its effect is not there" in str(missing)
    tape.effects.extend([(3, 1)] * 2)
    [twice] = effects(tape.log())
    assert "2 effects" in str(twice)
