"""Values from outside, on their way to a terminal or a log."""

import logging


def escaped(text: str) -> str:
    """The text in one line that shows what is in it.

    Line ends, what steers a terminal, what turns the direction of writing and lone surrogates come
    out as Python writes them in a literal: none of them can pass for a line of the program's own.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def get_logger(name: str) -> logging.Logger:
    """A logger of taskq's: whatever the values in its records, their messages are one line each.

    What ``extra`` adds stays as it is, for those who read records by machine. A ``stack`` in it is printed
    after the message, as that of ``stack_info`` is.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_escape)
    return logger


def _escape(record: logging.LogRecord) -> bool:
    if stack := getattr(record, "stack", None):
        record.stack_info = stack.rstrip()
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument if isinstance(argument, int | float) else escaped(str(argument))
            for argument in record.args
        )
    return True
