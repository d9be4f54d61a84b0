"""A number of things, in words."""


def counted(number: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def were(number: int, thing: str) -> str:
    """`1 picture was`, `2 pictures were`."""
    return f"{counted(number, thing)} {'was' if number == 1 else 'were'}"
