"""Checkpoints of a run, by Orbax: everything a resumed run or an inference needs."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from mofa_jax.errors import InputError, one_line
from mofa_jax.face_model import FaceModel

FIXED_DECODER = "convolutional_fixed"  # one that another run, or an experiment's start, learned
DECODERS_OF_SEMANTIC_CODES = ("face_model", FIXED_DECODER)
"""By `decoder.name`, those of whose runs the codes are the face model's."""

FORMAT = 2  # of what a checkpoint's metadata holds; 1 had no checksums, its weights can be read

_logger = logging.getLogger(__name__)


class CheckpointError(InputError):
    """A checkpoint cannot be found, read or written; the message says what, where and the fix."""


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`, the newest `keep` of them.

    A checkpoint is written to a temporary name and renamed when it is whole, so a killed run leaves
    the earlier ones as they were. Its metadata holds checksums, with which everything that is
    loaded is compared. Use it as a context manager: leaving it waits for the writing.
    """

    def __init__(self, workdir: str | os.PathLike, keep: int | None = None):
        """`keep`: for the run that writes; it also clears away what a killed run left half-written.

        Raises:
          CheckpointError: the folder cannot be opened.
        """
        self._directory = Path(os.path.abspath(workdir)) / "checkpoints"
        policies = ocp.training.preservation_policies
        policy = policies.LatestN(keep) if keep else policies.PreserveAll()
        try:
            if keep and jax.process_index() == 0:
                for half_written in self._directory.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(half_written)
            self._checkpointer = ocp.training.Checkpointer(
                self._directory, preservation_policy=policy
            )
        except Exception as error:  # of Orbax and what it stands on, in a dozen types
            raise CheckpointError(
                f"{self._directory}: this folder of checkpoints cannot be opened "
                f"({_one_line(error)}); check what is in it, and who may read and write it."
            ) from error

    @classmethod
    def existing(cls, workdir: str | os.PathLike) -> "Checkpoints":
        """The checkpoints of a run that has some.

        Raises:
          CheckpointError: there is none.
        """
        directory = Path(os.path.abspath(workdir)) / "checkpoints"
        checkpoints = cls(workdir) if directory.is_dir() else None
        if checkpoints is None or checkpoints.latest_step is None:
            raise CheckpointError(
                f"{directory}: no checkpoint here; give the --workdir of a training run that has "
                "saved one."
            )
        return checkpoints

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            with self._writing():
                self._checkpointer.close()
        except CheckpointError as error:
            if kind is None:
                raise
            _logger.error("%s", error)  # the first error goes on

    @property
    def latest_step(self) -> int | None:
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, state: Any, information: dict[str, Any]) -> None:
        """Writes a pytree and a JSON dictionary; returns before the files are written (see `wait`).

        Args:
          step: of the run.
          state: a dictionary or a dataclass of pytrees of arrays.
          information: what `information` gives back.

        Raises:
          CheckpointError: this or an earlier write failed (a full disk, say).
        """
        if step == self.latest_step:
            return
        content = {"format": FORMAT, **information}
        checksums = {name: checksum_of(part) for name, part in _parts(state).items()}
        metadata = {**content, "checksums": {**checksums, "metadata": _text_checksum(content)}}
        with self._writing():
            # Where no folder can be made, Orbax's threads would wait five minutes for it.
            with tempfile.TemporaryDirectory(".orbax-checkpoint-tmp", dir=self._directory):
                pass
            self._checkpointer.save_async(
                step, _of_all_processes(state), force=True, custom_metadata=metadata
            )

    def wait(self) -> None:
        """Returns when the checkpoint that is being saved is whole on the disk.

        Raises:
          CheckpointError: it could not be written.
        """
        with self._writing():
            self._checkpointer.wait()

    def information(self, step: int) -> dict[str, Any]:
        """The JSON dictionary that was saved at a step.

        Raises:
          CheckpointError: it is damaged.
        """
        return self._metadata(step)[0]

    def load(self, step: int, target: Any) -> Any:
        """The pytree of a step, on the target's devices.

        Args:
          step: of a checkpoint that exists.
          target: a pytree of arrays, or of ShapeDtypeStructs with shardings, of the same structure.

        Raises:
          CheckpointError: the checkpoint holds other arrays than the target, or is damaged.
        """
        return self._load(step, target, ocp.Context())

    def load_part(self, step: int, target: dict[str, Any]) -> dict[str, Any]:
        """Like `load`, for some of the saved pytree's keys, the rest left on disk."""
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        return self._load(step, target, context)

    def _load(self, step: int, target: Any, context: ocp.Context) -> Any:
        _, checksums = self._metadata(step)
        with self._reading(self._directory / str(step)):
            with context:
                loaded = self._checkpointer.load(step, target)
            for name, part in _parts(loaded).items():
                if checksums is not None and checksum_of(part) != checksums[name]:
                    raise ValueError(f"the checksum of its {name} is another one")
        return loaded

    def _metadata(self, step: int) -> tuple[dict[str, Any], dict[str, str] | None]:
        """What was saved as information, and the checksums of the arrays (none in format 1)."""
        with self._reading(self._directory / str(step)):
            content = dict(self._checkpointer.metadata(step).custom_metadata)
            checksums = content.pop("checksums", None)
            if checksums is None and content["format"] != 1:
                raise ValueError("its metadata has no checksums")
            if checksums is not None and checksums["metadata"] != _text_checksum(content):
                raise ValueError("the checksum of its metadata is another one")
            del content["format"]
        return content, checksums

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Turns whatever Orbax and the readers below it raise on damaged files into one error."""
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{path}: does not fit this configuration, or is damaged ({_one_line(error)}); use "
                "the config that the run was started with, or remove this folder: the run then "
                "goes on from the checkpoint before it."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{self._directory}: a checkpoint cannot be written ({_one_line(error)}); free "
                "disk space and start the command again: it goes on from the last whole one."
            ) from error


def check_face_model(trained_with: dict[str, Any], model: FaceModel) -> None:
    """Compares a checkpoint's face model with the one at hand.

    Warns if its arrays have changed since; raises CheckpointError if it is another one.
    """
    if model.is_model_of(trained_with):
        return
    sizes, name = list(model.code_sizes), trained_with["name"]
    if sizes != trained_with["code_sizes"] or model.name != name:
        raise CheckpointError(
            f"the encoder's codes are of face model '{name}' with shape, expression and "
            f"reflectance sizes {trained_with['code_sizes']}, but '{model.name}' has {sizes}; give "
            "the face model that it was trained with, or an encoder of this one."
        )
    _logger.warning(
        "The arrays of face model '%s' have changed since the encoder was trained; the results may "
        "be wrong.",
        name,
    )


def check_codes(information: dict[str, Any], workdir: str | os.PathLike) -> None:
    """Raises CheckpointError if a run's codes are none of the face model's."""
    decoder = information["config"].get("decoder", {"name": "face_model"})["name"]
    if decoder not in DECODERS_OF_SEMANTIC_CODES:
        raise CheckpointError(
            f"{os.fspath(workdir)}: this run has no encoder of semantic codes (its decoder.name is "
            f"{decoder}), so there is no face to draw or to measure; give the workdir of another "
            "run, and see this one's pictures in its folder pictures."
        )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)[:200]}"


def _parts(tree: Any) -> dict[str, Any]:
    """The pytrees in a dictionary or a dataclass, by name."""
    if isinstance(tree, dict):
        return tree
    return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}


def checksum_of(tree: Any) -> str:
    """SHA-256 over the types, shapes and bytes of a pytree's arrays, in the tree's order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise ValueError("an array is missing")
        array = np.asarray(leaf)
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _text_checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _of_all_processes(tree: Any) -> Any:
    """A pytree that every process holds whole on its devices, as arrays that they all share."""
    if jax.process_count() == 1:
        return tree
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("device",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def shared(leaf: jax.Array) -> jax.Array:
        copies = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    return jax.tree.map(shared, tree)


def on_first_device(tree: Any) -> Any:
    """The shapes and types of a pytree's arrays, to be loaded onto this process's first device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def abstract(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(abstract, tree)
