"""The site: that all of the Markdown reads the same there, and that the reference has what is public.

That each page is in the navigation, and no link, anchor or picture missing, `.ci/run` sees as it builds it.
"""

import re
from pathlib import Path

import pytest

import taskq

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_what_belongs_to_a_list_is_indented_by_four(page: Path) -> None:
    """Python-Markdown, which makes the site, takes it for something else with fewer; GitHub takes both."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^ {1,3}(?:[-*] |\d+\. |```).*", text, re.MULTILINE)
    assert not re.findall(r"\n\n {1,3}\S.*", text)


def test_the_reference_has_each_public_name() -> None:
    pages = "\n".join(path.read_text() for path in DOCS.glob("reference-*.md"))
    told = set(re.findall(r"^::: \S*?(\w+)$", pages, re.MULTILINE))
    told |= {name for name in vars(taskq.exceptions) if "::: taskq.exceptions" in pages}
    # The same class as JobContext, for type checkers.
    assert set(taskq.__all__) - told == {"AsyncTransactionContext", "TransactionContext"}
