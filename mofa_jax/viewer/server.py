"""What a page needs of this machine."""

import importlib.util
import socket

from mofa_jax.errors import InputError
from mofa_jax.extras import install_command


def check_server(host: str) -> None:
    """Raises InputError if viser is not installed, or if pages cannot be had at an address of this
    machine called `host`, for which viser would wait for ever."""
    if importlib.util.find_spec("viser") is None:
        raise InputError(f"the page needs viser; {install_command('viewer')}")
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as free:
            free.bind(address)
    except OSError as error:
        raise InputError(
            f"--host={host}: this machine has no such address ({error.strerror}); give 127.0.0.1, "
            "or 0.0.0.0 to let the network in."
        ) from error
