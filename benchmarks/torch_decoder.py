"""The decoder and the photometric loss written well for PyTorch: what ours is measured beside."""

import numpy as np
import torch

from mofa_jax.illumination import AMBIENT


class TorchDecoder:
    """Eq. 2-8 in plain PyTorch, batched, on PyTorch's default device; `cam` and `model` as in
    mofa_jax."""

    def __init__(self, model, cam):
        def tensor(array):
            return torch.as_tensor(np.array(array), device=torch.get_default_device())

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
        return self.loss_and_screen(codes, images)[0]

    def loss_and_screen(self, codes, images):
        """The same, and where the vertices lie on the screen, [B, N, 2], px."""
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
        loss = torch.where(front, difference, torch.zeros_like(difference)).mean(-1)
        return loss, torch.stack([u, v], -1)

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
