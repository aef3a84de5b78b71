"""Decoder and photometric loss, forward and backward: mofa_jax beside PyTorch, in alternating runs.

    python benchmarks/decoder.py --model=model.npz --batch=5,16 --runs=40

Ours is what a notebook calls: `jax.vmap(jax.value_and_grad(loss))` with the loss
`losses.photometric(render(...))`. The rival is the same computation written well for PyTorch: one
batched matrix product a basis, the normals gathered vertex by vertex from those of the triangles,
`grid_sample` for the photograph, autograd. Prints the medians, their ratio, how far the two losses
and gradients are apart, and the floor: the time in which the bases can be read twice.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags

import mofa_jax
from mofa_jax.illumination import AMBIENT
from mofa_jax.params import code_size

_MODEL = flags.DEFINE_string("model", "open", "Face model: an npz file or a built-in name.")
_BATCH = flags.DEFINE_list("batch", ["1", "5", "16"], "Batch sizes.")
_RUNS = flags.DEFINE_integer("runs", 40, "Timed runs of each.")


class TorchDecoder:
    """Eq. 2-8 in plain PyTorch, batched; `cam` and `model` as in mofa_jax."""

    def __init__(self, model, cam):
        def tensor(array):
            return torch.from_numpy(np.array(array))

        sizes = [*model.code_sizes, 3, 3, 27]
        self.sizes, self.cam, self.faces = sizes, cam, tensor(model.triangles).long()
        self.shape = tensor(model.shape_basis).reshape(-1, sizes[0]).T.contiguous()
        self.expression = tensor(model.expression_basis).reshape(-1, sizes[1]).T.contiguous()
        self.albedo = tensor(model.reflectance_basis).reshape(-1, sizes[2]).T.contiguous()
        self.mean, self.mean_albedo = tensor(model.mean_shape), tensor(model.mean_reflectance)
        triangles = np.asarray(model.triangles)
        table, vertex, triangle = _triangles_around(triangles, model.num_vertices)
        self.around, self.crowded, self.rest = tensor(table), tensor(vertex), tensor(triangle)

    def normals(self, v):
        a, b, c = (v[:, self.faces[:, i]] for i in range(3))
        face = torch.linalg.cross(b - a, c - a)
        face = torch.cat([face, torch.zeros_like(face[:, :1])], 1)  # of the places that are empty
        total = sum(face[:, column] for column in self.around.T)
        total = total.index_add(1, self.crowded, face[:, self.rest])
        return torch.nn.functional.normalize(total, dim=-1)

    def rotation(self, w):
        zero = torch.zeros_like(w[:, 0])
        x, y, z = w.unbind(-1)
        k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
        return torch.matrix_exp(k)

    def loss(self, codes, images):
        """Photometric losses [B] of codes [B, D] and images [B, 3, H, W]."""
        alpha, delta, beta, w, t, gamma = codes.split(self.sizes, -1)
        batch, (height, width) = len(codes), self.cam.image_size
        vertices = (alpha @ self.shape + delta @ self.expression).reshape(batch, -1, 3) + self.mean
        albedo = (beta @ self.albedo).reshape(batch, -1, 3) + self.mean_albedo
        rotation = self.rotation(w)
        offset = t + torch.tensor([0.0, 0.0, self.cam.distance])
        p = vertices @ rotation - offset[:, None]
        n = self.normals(vertices) @ rotation
        x, y, z = n.unbind(-1)
        s3, s5, s15 = 3**0.5, 5**0.5, 15**0.5
        one, band2 = torch.ones_like(x), s5 / 2 * (3 * z * z - 1)
        mixed = s15 / 2 * (x * x - y * y)
        bands = [one, s3 * y, s3 * z, s3 * x, s15 * x * y, s15 * y * z, band2, s15 * x * z, mixed]
        ambient = torch.zeros(9, 3)
        ambient[0] = AMBIENT
        color = albedo * (torch.stack(bands, -1) @ (gamma.reshape(batch, 9, 3) + ambient))
        u = self.cam.principal_point[0] + self.cam.focal * p[..., 0] / -p[..., 2]
        v = self.cam.principal_point[1] - self.cam.focal * p[..., 1] / -p[..., 2]
        grid = torch.stack([2 * u / width - 1, 2 * v / height - 1], -1)[:, None]
        sampled = torch.nn.functional.grid_sample(
            images, grid, padding_mode="border", align_corners=False
        )
        difference = (sampled[:, :, 0].transpose(1, 2) - color).norm(dim=-1)
        front = ((n * p).sum(-1) < 0).detach()
        return torch.where(front, difference, torch.zeros_like(difference)).mean(-1)

    def value_and_grad(self, codes, images):
        codes = codes.clone().requires_grad_()
        loss = self.loss(codes, images).sum()
        loss.backward()
        return loss.detach(), codes.grad


def _triangles_around(triangles: np.ndarray, num_vertices: int, width: int = 8):
    """[N, width] triangles around each vertex, filled up with their number; then the vertices [P]
    and triangles [P] that find no place there."""
    vertex, triangle = triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)
    order = np.argsort(vertex, kind="stable")
    count = np.bincount(vertex, minlength=num_vertices)
    place = np.arange(len(vertex)) - np.repeat(np.cumsum(count) - count, count)
    vertex, triangle = vertex[order], triangle[order]
    table, fits = np.full((num_vertices, width), len(triangles)), place < width
    table[vertex[fits], place[fits]] = triangle[fits]
    return table, vertex[~fits], triangle[~fits]


def _floor(model) -> float:
    """Milliseconds in which all bases are read twice, at the speed at which they are summed up."""
    total = jax.jit(lambda bases: [jnp.sum(basis) for basis in bases])
    bases = [model.geometry_modes, model.reflectance_modes]
    read = {"read": lambda: jax.block_until_ready(total(bases))}
    return 2 * _alternate(read, 10)["read"]


def _alternate(functions: dict, runs: int) -> dict[str, float]:
    """Median milliseconds of each function, called in turn."""
    times = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main(_):
    model, cam = mofa_jax.load_face_model(_MODEL.value), mofa_jax.Camera()
    rival = TorchDecoder(model, cam)
    rng = np.random.default_rng(0)

    @jax.jit
    def value_and_grad(codes, model, images):
        def loss(code, image):
            params = mofa_jax.FaceParams.from_code(code, model)
            return mofa_jax.losses.photometric(mofa_jax.render(params, model, cam), image)

        return jax.vmap(jax.value_and_grad(loss))(codes, images)

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
        times = _alternate(
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
