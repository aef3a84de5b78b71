"""Checkpoints of a run, by Orbax: everything a resumed run or an inference needs."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

FORMAT = 1  # of what a checkpoint's metadata holds


class CheckpointError(ValueError):
    """A checkpoint cannot be found or does not fit; the message says what, where and the mend."""


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`, the newest `keep` of them.

    A checkpoint is written to a temporary name and renamed when it is whole, so a killed run leaves
    the earlier ones as they were. Use it as a context manager: leaving it waits for the writing.
    """

    def __init__(self, workdir: str | os.PathLike, keep: int | None = None):
        self._directory = Path(os.path.abspath(workdir)) / "checkpoints"
        policies = ocp.training.preservation_policies
        policy = policies.LatestN(keep) if keep else policies.PreserveAll()
        self._checkpointer = ocp.training.Checkpointer(self._directory, preservation_policy=policy)

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

    def __exit__(self, *_) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, state: Any, information: dict[str, Any]) -> None:
        """Writes a pytree and a JSON dictionary; returns before the files are written.

        Raises:
          CheckpointError: an earlier write failed (a full disk, say).
        """
        if step == self.latest_step:
            return
        try:
            self._checkpointer.save_async(
                step,
                _of_all_processes(state),
                force=True,
                custom_metadata={"format": FORMAT, **information},
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self._directory}: the checkpoint of step {step} cannot be written ({error}); "
                "free disk space and start the command again: it goes on from the last whole one."
            ) from error

    def information(self, step: int) -> dict[str, Any]:
        """The JSON dictionary that was saved at a step."""
        return self._checkpointer.metadata(step).custom_metadata

    def load(self, step: int, target: Any) -> Any:
        """The pytree of a step, on the target's devices.

        Args:
          step: of a checkpoint that exists.
          target: a pytree of arrays, or of ShapeDtypeStructs with shardings, of the same structure.

        Raises:
          CheckpointError: the checkpoint holds other arrays than the target.
        """
        try:
            return self._checkpointer.load(step, target)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise CheckpointError(
                f"{self._directory / str(step)}: does not fit this configuration ({error}); use "
                "the config that the run was started with, or another workdir."
            ) from error

    def load_part(self, step: int, target: dict[str, Any]) -> dict[str, Any]:
        """Like `load`, for some of the saved pytree's keys, the rest left on disk."""
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        with context:
            return self.load(step, target)


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
