"""What a terminal may be given."""


def check_lines(said: str) -> None:
    """Nothing in it that a terminal obeys, or that passes for another line."""
    odd = {character for character in said if not character.isprintable() and character != "\n"}
    assert not odd, (ascii(odd), ascii(said[:3_000]))
