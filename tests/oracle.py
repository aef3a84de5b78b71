"""The decoder and the losses once more, in plain NumPy float64, written from the conventions.

Loops over triangles and explicit formulas, no code shared with the package.
"""

import numpy as np

LOSS_LANDMARKS = [8, *range(17, 27), *range(27, 36), *range(36, 48), *range(48, 60), 62, 66]


def rotation(w):
    """exp([w]_x) by the power series of the matrix exponential, after scaling and squaring."""
    x, y, z = np.asarray(w, np.float64) / 1024
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    total, term = np.eye(3), np.eye(3)
    for n in range(1, 12):
        term = term @ k / n
        total = total + term
    for _ in range(10):
        total = total @ total
    return total


def model_arrays(model):
    keys = ("mean_shape", "shape_basis", "expression_basis", "mean_reflectance")
    arrays = {k: np.asarray(getattr(model, k), np.float64) for k in (*keys, "reflectance_basis")}
    arrays["triangles"] = np.asarray(model.triangles)
    arrays["landmarks"] = np.asarray(model.landmarks)
    return arrays


def normals(vertices, triangles):
    total = np.zeros_like(vertices)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    for i in range(3):
        np.add.at(total, triangles[:, i], cross)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def sh(n):
    x, y, z = n.T
    y00 = 0.5 / np.sqrt(np.pi)
    bands = [
        0.5 / np.sqrt(np.pi) * np.ones_like(x),
        np.sqrt(3 / (4 * np.pi)) * y,
        np.sqrt(3 / (4 * np.pi)) * z,
        np.sqrt(3 / (4 * np.pi)) * x,
        0.5 * np.sqrt(15 / np.pi) * x * y,
        0.5 * np.sqrt(15 / np.pi) * y * z,
        0.25 * np.sqrt(5 / np.pi) * (3 * z**2 - 1),
        0.5 * np.sqrt(15 / np.pi) * x * z,
        0.25 * np.sqrt(15 / np.pi) * (x**2 - y**2),
    ]
    return np.stack(bands, 1) / y00


def render(code, m, focal=1087.5, center=(120.0, 120.0), distance=10.0):
    sizes = [m["shape_basis"].shape[2], m["expression_basis"].shape[2]]
    sizes += [m["reflectance_basis"].shape[2], 3, 3, 27]
    alpha, delta, beta, w, t, gamma = np.split(np.asarray(code, float), np.cumsum(sizes)[:-1])
    vertices = m["mean_shape"] + m["shape_basis"] @ alpha + m["expression_basis"] @ delta
    albedo = m["mean_reflectance"] + m["reflectance_basis"] @ beta
    inverse = np.linalg.inv(rotation(w))
    camera = (inverse @ vertices.T).T - np.array([0, 0, distance]) - t
    n = (inverse @ normals(vertices, m["triangles"]).T).T
    gamma = gamma.reshape(9, 3).copy()
    gamma[0] += 0.7
    color = albedo * (sh(n) @ gamma)
    u = center[0] + focal * camera[:, 0] / -camera[:, 2]
    v = center[1] - focal * camera[:, 1] / -camera[:, 2]
    front = (n * camera).sum(1) < 0
    return {
        "screen": np.stack([u, v], 1),
        "color": color,
        "vertices": camera,
        "normals": n,
        "front_facing": front,
    }


def bilinear(image, points):
    height, width = image.shape[:2]
    out = np.empty((len(points), image.shape[2]))
    for k, (u, v) in enumerate(points):
        x, y = np.clip(u - 0.5, 0, width - 1), np.clip(v - 0.5, 0, height - 1)
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
        fx, fy = x - x0, y - y0
        top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
        out[k] = top * (1 - fy) + (image[y1, x0] * (1 - fx) + image[y1, x1] * fx) * fy
    return out


def photometric(out, image):
    front = out["front_facing"]
    distance = np.linalg.norm(bilinear(image, out["screen"][front]) - out["color"][front], axis=1)
    return distance.sum() / len(front), distance.mean()


FACING_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
FACING_LIPS = ((61, 67), (62, 66), (63, 65))


def closure(out, m, points, confidence, size=240):
    drawn, known = out["screen"][m["landmarks"]], confidence * (m["landmarks"] >= 0)
    total = 0.0
    for a, b in FACING_LIDS + FACING_LIPS:
        if known[a] and known[b]:
            apart = drawn[a] - drawn[b] - points[a] + points[b]
            total += min(known[a], known[b]) * ((apart / size) ** 2).sum()
    return total


def landmark(out, m, points, confidence, size=240):
    total, distances = 0.0, []
    for j in LOSS_LANDMARKS:
        if m["landmarks"][j] < 0 or confidence[j] == 0:
            continue
        offset = out["screen"][m["landmarks"][j]] - points[j]
        total += confidence[j] * ((offset / size) ** 2).sum()
        distances.append(np.sqrt((offset**2).sum()))
    return total, np.mean(distances)
