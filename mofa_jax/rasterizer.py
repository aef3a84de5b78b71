"""Z-buffered pictures of a mesh: pure JAX, of fixed shapes, batched by vmap, without a gradient.

A triangle's fragments are the pixel centers in its bounding box, cut to the image. The fragments of
all triangles are counted through in order and taken in chunks of one size, so that the work follows
what is on the screen (a thousand tiny triangles or a few huge ones) while every shape stays static.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from mofa_jax.camera import NEAR, Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.renderer import Rendering

_CHUNK = 16384  # fragments a step; its square must fit an int32
_FARTHEST = 1e15  # px, dm: a triangle beyond it is dropped, its area would overflow; one with a
# vertex nearer than `NEAR`, too
_FLAT = 1e-30  # px^2: a smaller area is no number to divide by


@struct.dataclass
class _Fragments:
    """What a triangle's fragments need, of F triangles, padded by one chunk of empty ones.

    Attributes:
      corners: [F, 9], screen x, y of the three corners, px, then their inverse depths.
      boxes: [F, 3] int32, first column, first row and width of the pixels in the bounding box.
      count: [F] int32, how many pixels the box has; 0 of a triangle that is not drawn.
    """

    corners: jax.Array
    boxes: jax.Array
    count: jax.Array


def rasterize(
    rendering: Rendering,
    model: FaceModel,
    cam: Camera,
    background: jax.Array | None = None,
    supersample: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """The picture of a rendered face, its vertex colors interpolated on the surface.

    The colors alone have a gradient, the vertices' places none.

    Args:
      rendering: of `model`, seen by `cam`.
      model: gives the triangles.
      cam: gives the picture's size H, W.
      background: [H, W, 3] or [3] what is behind the face; black if None.
      supersample: the picture is drawn this many times as wide and high and averaged, which
        smooths its edges.

    Returns:
      image: [H, W, 3], not clipped.
      mask: [H, W], in [0, 1], the part of each pixel that the face covers.

    Raises:
      ValueError: the rendering is of a model with another number of vertices.
    """
    if len(rendering.color) != model.num_vertices:
        raise ValueError(
            f"the rendering has {len(rendering.color)} vertices, face model '{model.name}' "
            f"{model.num_vertices}: give the model that was rendered."
        )
    image, mask = rasterize_attributes(
        rendering.color, rendering, model, cam, supersample=supersample
    )
    if background is not None:
        image = image + (1 - mask[..., None]) * jnp.broadcast_to(background, image.shape)
    return image, mask


def rasterize_attributes(
    attributes: jax.Array,
    rendering: Rendering,
    model: FaceModel,
    cam: Camera,
    supersample: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """Any attributes [N, C] of a rendered face's vertices as a picture [H, W, C], and the mask.

    As `rasterize`, before zero.
    """
    height, width = cam.image_size
    fine_size = (height * supersample, width * supersample)
    depth = -rendering.vertices[:, 2]
    ids, weights = rasterize_ids(rendering.screen * supersample, depth, model.triangles, fine_size)
    return _averaged(attributes, model.triangles, ids, weights, supersample)


@functools.partial(jax.jit, static_argnames="factor")
def _averaged(attributes, triangles, ids, weights, factor: int) -> tuple[jax.Array, jax.Array]:
    """The picture [H, W, C] and the mask [H, W] of what `rasterize_ids` found at `factor` times
    the size."""
    picture = interpolate(attributes, triangles, ids, weights)
    cover = (ids >= 0).astype(picture.dtype)[..., None]
    picture, cover = (_box_filter(fine, factor) for fine in (picture, cover))
    return picture, cover[..., 0]


@functools.partial(jax.jit, static_argnames="image_size")
def rasterize_ids(
    screen: jax.Array, depth: jax.Array, triangles: jax.Array, image_size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The nearest triangle at the center of every pixel, and where on it the pixel lies.

    Drawn are the triangles whose corners run counter-clockwise on the screen, for the viewer.
    Dropped are those with a corner behind the camera, nearer than a tenth of a millimeter to its
    plane, not finite, or beyond 1e15 px or dm. Of two at the same depth the first one is seen.

    Args:
      screen: [N, 2], continuous pixels; the center of row r, column c is (c + 0.5, r + 0.5).
      depth: [N], distance to the camera's plane, dm.
      triangles: [F, 3] int32.
      image_size: (H, W), px.

    Returns:
      ids: [H, W] int32, -1 where there is no triangle.
      weights: [H, W, 3], the corners' barycentric weights on the surface (perspective-correct), in
        [0, 1], of sum one; zero where there is no triangle.
    """
    drawing = jax.custom_batching.custom_vmap(functools.partial(_draw, image_size=image_size))
    drawing.def_vmap(functools.partial(_draw_batch, image_size))
    screen, depth = lax.stop_gradient((screen, depth))
    return drawing(screen, depth, triangles)


def interpolate(
    attributes: jax.Array, triangles: jax.Array, ids: jax.Array, weights: jax.Array
) -> jax.Array:
    """Any per-vertex attribute as a picture [H, W, C], zero where there is no triangle.

    Args:
      attributes: [N, C].
      triangles: [F, 3] int32.
      ids: [H, W] int32, of `rasterize_ids`.
      weights: [H, W, 3], of `rasterize_ids`.
    """
    corners = triangles[jnp.maximum(ids, 0)]  # [H, W, 3]
    return sum(attributes[corners[..., k]] * weights[..., k, None] for k in range(3))


def doubled_areas(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    """Twice the areas [F] of triangles with the corners a, b, c [F, 2] on the screen, px^2.

    Negative if they run counter-clockwise for who looks at it: v points down.
    """
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _box_filter(picture: jax.Array, factor: int) -> jax.Array:
    height, width, channels = picture.shape
    blocks = picture.reshape(height // factor, factor, width // factor, factor, channels)
    return jnp.mean(blocks, axis=(1, 3))


def _draw_batch(image_size, batch_size, in_batched, *arrays):
    """`_draw` of a batch, the faster way: on a CPU one picture after the other, else together."""
    arrays = tuple(
        array if batched else jnp.broadcast_to(array, (batch_size, *array.shape))
        for array, batched in zip(arrays, in_batched, strict=True)
    )
    draw = functools.partial(_draw, image_size=image_size)
    drawn = lax.platform_dependent(
        *arrays, cpu=lambda *batch: lax.map(lambda one: draw(*one), batch), default=jax.vmap(draw)
    )
    return drawn, (True, True)


def _draw(screen: jax.Array, depth: jax.Array, triangles: jax.Array, image_size: tuple[int, int]):
    """The ids and weights of `rasterize_ids`."""
    height, width = image_size
    # Backwards: of two at the same depth the one that is drawn last is seen.
    fragments = _prepare(screen, depth, triangles[::-1], image_size)
    drawn = _nearest(fragments, triangles.shape[0], image_size).reshape(height, width)
    covered = drawn >= 0
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    corners = fragments.corners[jnp.maximum(drawn, 0)]
    weights, inverse_depth, _ = _surface_weights(corners, column, row)
    scale = jnp.where(covered, 1 / jnp.where(covered, inverse_depth, 1.0), 0.0)
    ids = jnp.where(covered, triangles.shape[0] - 1 - drawn, -1)
    return ids, jnp.stack([weight * scale for weight in weights], axis=-1)


def _prepare(
    screen: jax.Array, depth: jax.Array, triangles: jax.Array, image_size: tuple[int, int]
) -> _Fragments:
    usable = (depth > NEAR) & (depth < _FARTHEST) & jnp.all(jnp.abs(screen) < _FARTHEST, axis=-1)
    screen = jnp.where(usable[:, None], screen, 0.0)
    inverse_depth = jnp.where(usable, 1 / jnp.where(usable, depth, 1.0), 0.0)
    a, b, c = (screen[triangles[:, k]] for k in range(3))
    area = doubled_areas(a, b, c)
    size = jnp.array([image_size[::-1]], screen.dtype)
    low, high = jnp.minimum(jnp.minimum(a, b), c), jnp.maximum(jnp.maximum(a, b), c)
    first = jnp.clip(jnp.ceil(low - 0.5), 0, size).astype(jnp.int32)
    last = jnp.clip(jnp.floor(high - 0.5), -1, size - 1).astype(jnp.int32)
    extent = jnp.maximum(last - first + 1, 0)
    drawn = jnp.all(usable[triangles], axis=-1) & (area < 0)
    count = jnp.where(drawn, extent[:, 0] * extent[:, 1], 0)
    corners = jnp.concatenate([a, b, c, inverse_depth[triangles]], axis=-1)
    boxes = jnp.concatenate([first, jnp.maximum(extent[:, :1], 1)], axis=-1)
    return jax.tree.map(
        lambda table: jnp.pad(table, [(0, _CHUNK), *[(0, 0)] * (table.ndim - 1)]),
        _Fragments(corners, boxes, count),
    )


def _nearest(fragments: _Fragments, num_triangles: int, image_size: tuple[int, int]) -> jax.Array:
    """The nearest triangle of every pixel [H * W], the last of equals; -1 where there is none."""
    height, width = image_size
    num_pixels = height * width

    def draw_chunk(state):
        position, nearest, ids = state
        triangle, within, position = _take_chunk(fragments.count, *position)
        first_column, first_row, box_width = jnp.moveaxis(fragments.boxes[triangle], -1, 0)
        column, row = first_column + within % box_width, first_row + within // box_width
        _, inverse_depth, inside = _surface_weights(fragments.corners[triangle], column, row)
        hit = inside & (within >= 0)
        pixel = jnp.where(hit, row * width + column, num_pixels)  # the last one is a bin
        nearest = nearest.at[pixel].max(jnp.where(hit, inverse_depth, 0.0))
        # Triangles come in order: one that is nearer than all before has a larger number, too. (To
        # read what was nearest before, XLA would copy the whole picture for every chunk.)
        winner = hit & (inverse_depth == nearest[pixel])
        return position, nearest, ids.at[pixel].max(jnp.where(winner, triangle, -1))

    nearest = jnp.zeros(num_pixels + 1, fragments.corners.dtype)
    ids = jnp.full(num_pixels + 1, -1, jnp.int32)
    start = (jnp.int32(0), jnp.int32(0))
    state = lax.while_loop(lambda s: s[0][0] < num_triangles, draw_chunk, (start, nearest, ids))
    return state[2][:num_pixels]


def _take_chunk(count: jax.Array, first: jax.Array, taken: jax.Array):
    """The next `_CHUNK` fragments, or those of the next `_CHUNK` triangles if they are fewer.

    Args:
      count: [F + _CHUNK] int32, the fragments of each triangle.
      first: the triangle to begin with.
      taken: how many of its fragments have been taken already.

    Returns:
      triangle: [_CHUNK] int32, the triangle of each fragment.
      within: [_CHUNK] int32, its number in the triangle; -1 where there is none.
      position: (first, taken) of the next chunk.
    """
    window = lax.dynamic_slice(count, (first,), (_CHUNK,)).at[0].add(-taken)
    window = jnp.minimum(window, _CHUNK)
    end = jnp.cumsum(window, dtype=jnp.int32)
    ended = jnp.zeros(_CHUNK + 1, jnp.int32).at[jnp.minimum(end, _CHUNK)].add(1)
    place = jnp.cumsum(ended, dtype=jnp.int32)[:_CHUNK]  # how many triangles ended before
    there = place < _CHUNK
    place = jnp.minimum(place, _CHUNK - 1)
    within = jnp.arange(_CHUNK, dtype=jnp.int32) - (end - window)[place]
    within = within + jnp.where(place == 0, taken, 0)
    ran_out = ~there[-1]
    position = (
        jnp.where(ran_out, first + _CHUNK, first + place[-1]),
        jnp.where(ran_out, 0, within[-1] + 1),
    )
    return first + place, jnp.where(there, within, -1), position


def _surface_weights(corners: jax.Array, column: jax.Array, row: jax.Array):
    """Where a pixel's center lies in a triangle.

    Args:
      corners: [..., 9], as in `_Fragments`.
      column, row: [...], the pixel.

    Returns:
      weights: three of [...], the screen's barycentric weights times the corners' inverse depths.
      inverse_depth: [...], their sum: the surface's inverse depth at the pixel, 1/dm.
      inside: [...] bool. An edge function within its rounding error of zero counts as inside, so
        that no pixel on an edge between two triangles is missed by both.
    """
    a, b, c = (
        (corners[..., 2 * k] - (column + 0.5), corners[..., 2 * k + 1] - (row + 0.5))
        for k in range(3)
    )
    edges, inside = [], True
    for (x0, y0), (x1, y1) in ((b, c), (c, a), (a, b)):
        product, other = y0 * x1, x0 * y1
        rounding = 2 * jnp.finfo(product.dtype).eps * (jnp.abs(product) + jnp.abs(other))
        edges.append(jnp.maximum(product - other, 0.0))
        inside &= product - other >= -rounding
    total = edges[0] + edges[1] + edges[2]
    flat = total < _FLAT  # nothing is left but rounding: the middle of the triangle serves
    scale = 1 / jnp.where(flat, 1.0, total)
    weights = [
        jnp.where(flat, 1 / 3, edge * scale) * corners[..., 6 + k] for k, edge in enumerate(edges)
    ]
    return weights, weights[0] + weights[1] + weights[2], inside
