"""What a mutation is."""

from dataclasses import dataclass

INTERLEAVINGS = "tests/interleavings/test_interleavings.py::test_the_promises_hold_in_every_order"
MODEL = "tests/model/test_model.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One way to break the code.

    Attributes:
        what: What is broken by it.
        path: In which file.
        old: What it says, once.
        new: What it says instead.
        test: The test that must fail.
        and_old: What the file says in another place, if two are to be changed; once.
        and_new: What it says there instead.
    """

    what: str
    path: str
    old: str
    new: str
    test: str
    and_old: str = ""
    and_new: str = ""

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What is replaced by what."""
        changes = [(self.old, self.new), (self.and_old, self.and_new)]
        return [change for change in changes if change[0]]
