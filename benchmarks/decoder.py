"""Decoder and photometric loss, forward and backward: mofa_jax beside PyTorch, in alternating runs.

    python -m benchmarks.decoder --model=model.npz --batch=5,16 --runs=40

Ours is what a notebook calls: `jax.vmap(jax.value_and_grad(loss))` with the loss
`losses.photometric(render(...))`. The rival is the same computation written well for PyTorch: one
batched matrix product a basis, the normals gathered vertex by vertex from those of the triangles,
`grid_sample` for the photograph, autograd. Prints the medians, their ratio, how far the two losses
and gradients are apart, and the floor: the time in which the bases can be read twice.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags

import mofa_jax
from benchmarks.measuring import alternate
from benchmarks.ours import decoder_and_loss
from benchmarks.torch_decoder import TorchDecoder
from mofa_jax.params import code_size

_MODEL = flags.DEFINE_string("model", "open", "Face model: an npz file or a built-in name.")
_BATCH = flags.DEFINE_list("batch", ["1", "5", "16"], "Batch sizes.")
_RUNS = flags.DEFINE_integer("runs", 40, "Timed runs of each.")


def _floor(model) -> float:
    """Milliseconds in which all bases are read twice, at the speed at which they are summed up."""
    total = jax.jit(lambda bases: [jnp.sum(basis) for basis in bases])
    bases = [model.geometry_modes, model.reflectance_modes]
    read = {"read": lambda: jax.block_until_ready(total(bases))}
    return 2 * alternate(read, 10)["read"]


def main(_):
    model, cam = mofa_jax.load_face_model(_MODEL.value), mofa_jax.Camera()
    rival = TorchDecoder(model, cam)
    rng = np.random.default_rng(0)
    value_and_grad = decoder_and_loss(cam)
    floor = _floor(model)
    print(
        f"N = {model.num_vertices}, code {code_size(model)}, {torch.get_num_threads()} threads, "
        f"floor {floor:.1f} ms"
    )
    for batch in map(int, _BATCH.value):
        codes = (0.2 * rng.normal(size=(batch, code_size(model)))).astype(np.float32)
        coarse = rng.uniform(size=(batch, 12, 12, 3)).astype(np.float32)
        images = np.array(jax.image.resize(coarse, (batch, 240, 240, 3), "linear"))
        ours, theirs = (jnp.asarray(codes), jnp.asarray(images)), torch.from_numpy(codes)
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        loss, gradient = value_and_grad(ours[0], model, ours[1])
        rival_loss, rival_gradient = rival.value_and_grad(theirs, pixels)
        scale = np.abs(rival_gradient.numpy()).max()
        off = np.abs(gradient - rival_gradient.numpy()).max() / scale
        times = alternate(
            {
                "mofa_jax": lambda x=ours: jax.block_until_ready(value_and_grad(x[0], model, x[1])),
                "pytorch": lambda x=theirs, y=pixels: rival.value_and_grad(x, y),
            },
            _RUNS.value,
        )
        print(
            f"batch {batch:3d}: mofa_jax {times['mofa_jax']:6.1f} ms, "
            f"PyTorch {times['pytorch']:6.1f} ms, ratio {times['pytorch'] / times['mofa_jax']:.2f}"
            f", {times['mofa_jax'] / floor:.1f} times the floor"
            f"; losses differ by {abs(float(loss.sum()) / float(rival_loss) - 1):.1e}, "
            f"gradients by {off:.1e}"
        )


if __name__ == "__main__":
    app.run(main)
