"""Numbers of things, as people read them."""


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 job``, ``1,500 jobs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
