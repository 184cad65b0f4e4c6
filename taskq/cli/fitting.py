"""How a table fits into the width of a terminal: nothing is wrapped, names are cut in the middle."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

# Cells between two columns: where there is room, and where there is not.
WIDE_GAP, GAP = 3, 2

_SHORTEST = 9  # cells that are left of a name


@dataclass(slots=True)
class Texts:
    """A column: the texts in it, from the heading on.

    Attributes:
        texts: The heading, and the text of each row.
        is_cut: Whether they can be cut: a part of a number or of a time would be another one.
    """

    texts: list[str]
    is_cut: bool

    @property
    def width(self) -> int:
        """In cells."""
        return max(map(cell_len, self.texts))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it but its heading."""
        return all(text in {"", "0"} for text in self.texts[1:])


def fit(columns: Sequence[Texts], width: int) -> tuple[list[int], int]:
    """Have a table fit into a width.

    Columns with nothing in them go first; then names are cut, the longest first; then columns go, from
    the last one that could be cut.

    Args:
        columns: The columns; their texts are cut in place.
        width: In cells.

    Returns:
        The columns that are left, by their place, and the cells between two of them.
    """
    kept = list(range(len(columns)))

    def excess(gap: int = GAP) -> int:
        return sum(columns[at].width for at in kept) + gap * (len(kept) - 1) - width

    if excess(WIDE_GAP) <= 0:
        return kept, WIDE_GAP
    while excess() > 0 and (empty := [at for at in kept if columns[at].is_empty]):
        kept.remove(empty[-1])
    while (over := excess()) > 0 and kept:
        cut = [at for at in kept if columns[at].is_cut and columns[at].width > _SHORTEST]
        if cut:
            widest = columns[max(cut, key=lambda at: columns[at].width)]
            # No further than the next one, so that they share what there is.
            others = sorted({columns[at].width for at in cut} | {_SHORTEST})
            below = max((w for w in others if w < widest.width), default=_SHORTEST)
            length = max(below, widest.width - over)
            widest.texts = [cut_in_the_middle(text, length) for text in widest.texts]
        elif len(kept) == 1:
            break
        else:
            names = [at for at in kept[1:] if columns[at].is_cut]
            kept.remove((names or kept)[-1])
    return kept, GAP


def cut_in_the_middle(text: str, width: int) -> str:
    """The text, with an ellipsis in the place of its middle if it is wider than so many cells."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    head = width - 1 - tail
    begin = chop_cells(text, head)[0] if head else ""
    end = chop_cells(text[::-1], tail)[0][::-1] if tail else ""
    return f"{begin}…{end}"
