"""What all commands share: how they read their flags and begin, and the flags of an encoder."""

import os
import re
import sys
from collections.abc import Callable

from absl import app, flags

from mofa_jax.errors import one_line
from mofa_jax.processes import configure_logging, keep_compiled_programs


def run(main: Callable[[list[str]], None]) -> None:
    """absl's `app.run`, but a wrong flag, or a config's own error, is one sentence."""
    app.run(main, flags_parser=_parse)


def begin() -> None:
    """What a command that computes does first: this package's messages, and compiled programs
    kept."""
    configure_logging()
    keep_compiled_programs()


def encoder_flags() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines --workdir and --face_model."""
    workdir = flags.DEFINE_string(
        "workdir", None, "Of a run whose encoder is used instead of the bundled one."
    )
    return workdir, face_model_flag()


def face_model_flag() -> flags.FlagHolder:
    """Defines --face_model."""
    return flags.DEFINE_string(
        "face_model", None, "Where the face model is now, if not where it was."
    )


def _at_home(argument: str) -> str:
    """A flag with `~` for the home folder, which shells leave as it is after an equals sign."""
    if not argument.startswith("--"):
        return argument
    return re.sub(r"(?<=[=,@])~(?=/|$)", lambda _: os.path.expanduser("~"), argument)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS([_at_home(argument) for argument in argv])
        if "config" in flags.FLAGS:
            getattr(flags.FLAGS.config, "items", None)  # raises what kept its file from loading
        return rest
    except OSError as error:  # of ml_collections, about a config's file
        missing = re.search(r"No such file or directory: '(.*)'", str(error))
        given = [part.split(":")[0] for argument in argv for part in argument.split("=", 1)]
        if missing and missing[1] in given:
            sys.exit(f"error: {missing[1]}: there is no such config; see the folder configs.")
        sys.exit(f"error: {one_line(error)}")
    except flags.Error as error:  # of a config, its traceback before
        reason = re.sub(r"^\w+Error: ", "", str(error).strip().splitlines()[-1])
        sys.exit(f"error: {reason} (--help lists all flags.)")
    except AttributeError as error:
        if "has no attribute" in str(error):  # of a config's code
            sys.exit(f"error: {one_line(error)}")
        # Of ml_collections: the field's name between quotes.
        field, *meant = re.findall(r"^\W*(\w+)|Did you mean \"(\w+)\"", str(error))
        advice = f" (did you mean '{meant[0][1]}'?)" if meant else ""
        sys.exit(
            f"error: --config has no field '{field[0]}'{advice}; see the default.py beside it, in "
            "configs/ or configs/corpora/."
        )
