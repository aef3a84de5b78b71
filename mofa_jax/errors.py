"""What people are told when something that they gave cannot be used."""


class InputError(ValueError):
    """A file, a folder, a config or an argument cannot be used.

    The message is one sentence that says what, where and the mend; commands print it and end.
    """


def one_line(error: BaseException) -> str:
    """What an error says, in one line; the name of its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
