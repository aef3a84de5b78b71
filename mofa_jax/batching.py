"""How a function of one face works on a batch of them."""

from collections.abc import Callable

import jax


def face_by_face(function: Callable) -> Callable:
    """`function`, whose vmap on a CPU works on one face after the other.

    The arrays of one face stay in a CPU's cache, those of a batch do not. Other backends work on
    all faces at once, as ever; so does the derivative, which is that of the plain function.
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def over_faces(axis_size, in_batched, *args):
        del axis_size
        leaves, tree = jax.tree.flatten(args)
        batched = jax.tree.leaves(in_batched)
        faces = [leaf for leaf, b in zip(leaves, batched, strict=True) if b]

        def args_of(face: list[jax.Array]):
            own = iter(face)
            return tree.unflatten(
                next(own) if b else leaf for leaf, b in zip(leaves, batched, strict=True)
            )

        if jax.default_backend() == "cpu":
            out = jax.lax.map(lambda face: mapped(*args_of(face)), faces)
        else:
            out = jax.vmap(lambda face: function(*args_of(face)))(faces)
        return out, jax.tree.map(lambda _: True, out)

    @jax.custom_jvp
    def differentiable(*args):
        return mapped(*args)

    @differentiable.defjvp
    def plain(primals, tangents):
        return jax.jvp(function, primals, tangents)

    return differentiable
