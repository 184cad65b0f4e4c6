"""The mutations can still be made."""

import pytest

from tests.stress.children import ROOT
from tests.stress.mutations import MUTATIONS


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_code_has_what_a_mutation_changes(name: str) -> None:
    mutation = MUTATIONS[name]
    text = (ROOT / mutation.path).read_text()
    assert [text.count(old) for old, _ in mutation.changes] == [1] * len(mutation.changes)
