"""A value of JSON as a tree that a page can show: as much of it as people read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.encryption import is_encrypted
from taskq.unreadable import Unreadable

_MOST_NODES = 500
_DEEPEST = 12
_LONGEST = 2_000  # characters


@dataclass(frozen=True, slots=True)
class Node:
    """A value in the tree.

    Attributes:
        name: Its name or its place in what it is in; None: it is the whole.
        kind: What it is: ``object``, ``array``, ``string``, ``number``, ``boolean``, ``null`` or ``note``.
        text: What is shown of a value that has none in it.
        nodes: The values in it.
    """

    name: str | None
    kind: str
    text: str
    nodes: Sequence["Node"] = ()


def tree_of(value: Any) -> Node:
    """The tree of a value; what is too much of it is counted and left out."""
    if is_encrypted(value):
        return Node(None, "note", "encrypted")
    return _Tree().node(None, value, 0)


class _Tree:
    def __init__(self) -> None:
        self._left = _MOST_NODES

    def node(self, name: str | None, value: Any, depth: int) -> Node:
        self._left -= 1
        if isinstance(value, Unreadable):
            return Node(name, "note", str(value))
        if isinstance(value, Mapping):
            items = [(str(key), each) for key, each in value.items()]
            return self._branch(name, "object", items, depth)
        if isinstance(value, list):
            items = [(str(at), each) for at, each in enumerate(value)]
            return self._branch(name, "array", items, depth)
        return Node(name, _kind(value), _shown(value))

    def _branch(
        self, name: str | None, kind: str, items: Sequence[tuple[str, Any]], depth: int
    ) -> Node:
        if not items:
            return Node(name, kind, "{}" if kind == "object" else "[]")
        count = f"{len(items):,} {'values' if kind == 'array' else 'names'}"
        if depth >= _DEEPEST:
            return Node(name, "note", f"… {count}, too deep to show")
        nodes = []
        for at, (key, each) in enumerate(items):
            if self._left <= 0:
                nodes.append(Node(None, "note", f"… {len(items) - at:,} more"))
                break
            nodes.append(self.node(key, each, depth + 1))
        return Node(name, kind, count, nodes)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    return "number" if isinstance(value, int | float) else "string"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… {len(text) - _LONGEST:,} characters more"
