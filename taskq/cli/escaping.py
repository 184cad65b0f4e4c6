"""Values that somebody else chose, on their way to a terminal or a log."""


def escaped(text: str) -> str:
    """The text in one line that shows what is in it.

    Line ends, what steers a terminal, what turns the direction of writing and lone surrogates come
    out as Python writes them in a literal: none of them can pass for a line of the program's own.
    """
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )
