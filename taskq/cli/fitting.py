"""How a table fits into the width of a terminal: nothing is wrapped, names are cut in the middle."""

from collections.abc import Collection, Sequence
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
        nothing: The texts that say nothing.
    """

    texts: list[str]
    is_cut: bool
    nothing: Collection[str] = ("", "0")

    @property
    def width(self) -> int:
        """In cells."""
        return max(map(cell_len, self.texts))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it but its heading."""
        return all(text in self.nothing for text in self.texts[1:])


def fit(columns: Sequence[Texts], width: int) -> tuple[list[int], int]:
    """Have a table fit into a width.

    Columns with nothing in them go first; then names are cut, the longest ones to the same width; then
    columns go, from the last one that could be cut.

    Args:
        columns: The columns; their texts are cut in place.
        width: In cells.

    Returns:
        The columns that are left, by their place, and the cells between two of them.
    """
    kept = list(range(len(columns)))

    def room(gap: int = GAP) -> int:
        """What is left of the width, in cells; negative if it is not enough."""
        return width - sum(columns[at].width for at in kept) - gap * (len(kept) - 1)

    if room(WIDE_GAP) >= 0:
        return kept, WIDE_GAP
    while room() < 0 and (empty := [at for at in kept if columns[at].is_empty]):
        kept.remove(empty[-1])
    while room() < 0:
        names = [at for at in kept if columns[at].is_cut]
        widths = [columns[at].width for at in names]
        if length := _common_length(widths, sum(widths) + room()):
            for at in names:
                columns[at].texts = [cut_in_the_middle(text, length) for text in columns[at].texts]
        elif len(kept) == 1:
            break
        else:
            kept.remove(([at for at in names if at != kept[0]] or kept)[-1])
    return kept, GAP


def _common_length(widths: Sequence[int], room: int) -> int | None:
    """To how many cells to cut what is wider, for all to fit in; None if too few would be left."""
    lengths = range(max(widths, default=0), _SHORTEST - 1, -1)
    return next((n for n in lengths if sum(min(width, n) for width in widths) <= room), None)


def cut_in_the_middle(text: str, width: int) -> str:
    """The text, with an ellipsis in the place of its middle if it is wider than so many cells."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    head = width - 1 - tail
    begin = chop_cells(text, head)[0] if head else ""
    end = chop_cells(text[::-1], tail)[0][::-1] if tail else ""
    return f"{begin}…{end}"
