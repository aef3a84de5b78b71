"""How optional packages are added."""

from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]


def install_command(extra: str) -> str:
    """What adds the packages of an extra of pyproject.toml, such as "viewer": in a checkout the
    file that lists them, elsewhere the installed package's own list."""
    file = f"requirements-{extra}.txt"
    if (_CHECKOUT / file).is_file():
        return f"pip install -r {file}"
    return f'pip install "mofa_jax[{extra}]"'
