"""Bases whose coefficients are standard deviations: scaled, orthogonal, and made of blendshapes."""

import math

import numpy as np

from mofa_jax.face_model import FaceModelError

_SAME_LENGTH = 1e-2  # relative: how alike lengths may be and still count as equal
_ACTIVE = 0.15  # the chance that a facial unit takes part in an expression
_TIED = 0.8  # the chance that left and right act alike
_CORRECTED = 0.3  # the chance that a corrective goes with its unit
# Units that exclude each other, and the one that only corrects another (ICT-FaceKit and ARKit).
_OPPOSITES = (
    ("eyeBlink", "eyeWide"),
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("mouthSmile", "mouthFrown"),
    ("mouthFunnel", "mouthStretch"),
    ("mouthPucker", "mouthStretch"),
    ("eyeLookUp", "eyeLookDown"),
    ("browDown", "browOuterUp"),
)
_CORRECTIVES = {"mouthClose": "jawOpen"}
_GAZE = (("eyeLookIn_L", "eyeLookOut_R"), ("eyeLookIn_R", "eyeLookOut_L"))


def scaled_basis(
    components: np.ndarray, deviations: np.ndarray, what: str, source: str
) -> np.ndarray:
    """Principal components times their standard deviations, however the file keeps them.

    Args:
      components: [D, K], of unit length, or multiplied by the deviations already.
      deviations: [K], in the components' unit.
      what, source: for the message: the basis's name and the file.

    Raises:
      FaceModelError: the components' lengths are neither one nor the deviations.
    """
    lengths = np.linalg.norm(components.astype(np.float64), axis=0)
    if np.allclose(lengths, 1, rtol=0, atol=_SAME_LENGTH):
        return components * deviations.astype(components.dtype)
    if np.allclose(lengths, deviations, rtol=_SAME_LENGTH):
        return components
    raise FaceModelError(
        f"{source}: {what} is not scaled as expected: its components have lengths "
        f"{lengths.min():.3g} to {lengths.max():.3g}, neither one nor their standard deviations "
        f"{deviations.min():.3g} to {deviations.max():.3g}; check that the file is the published "
        "one."
    )


def orthogonal_modes(basis: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """The principal modes of `basis @ c` with independent unit-variance c: E^T E = diag(sigma^2).

    Args:
      basis: [N, 3, K]; its columns need not be orthogonal.
      count: at most so many modes.

    Returns:
      modes: [N, 3, k] float32, each as long as its standard deviation, the longest first.
      kept: which part of the variance they keep, 0 to 1.
    """
    flat = basis.reshape(math.prod(basis.shape[:2]), basis.shape[-1]).astype(np.float64)
    if not flat.any():  # or without modes
        return np.zeros((*basis.shape[:2], 0), np.float32), 1.0
    variances, rotation = np.linalg.eigh(flat.T @ flat)
    variances, rotation = variances[::-1], rotation[:, ::-1]
    count = min(count, int((variances > 1e-10 * variances[0]).sum()))
    strongest = np.abs(rotation).argmax(axis=0)
    rotation = rotation * np.sign(rotation[strongest, np.arange(len(strongest))])
    modes = (flat @ rotation[:, :count]).reshape(*basis.shape[:2], count)
    kept = variances[:count].sum() / np.maximum(variances, 0).sum()
    return modes.astype(np.float32), float(kept)


def blendshape_modes(blendshapes: np.ndarray, names: list[str], seed: int = 0) -> np.ndarray:
    """Modes [N, 3, K] whose second moment about neutral is that of plausible sparse expressions.

    With w the weights of plausible expressions (`plausible_weights`) and L L^T = E[w w^T], the
    modes are the blendshapes times L: zero coefficients stay neutral.

    Args:
      blendshapes: [N, 3, K] displacements from neutral at weight one.
      names: K names; "_L" and "_R" at the end mark the sides.
      seed: of the drawn expressions.
    """
    weights = plausible_weights(names, 4000, np.random.default_rng(seed))
    second_moment = weights.T @ weights / len(weights)
    variances, axes = np.linalg.eigh(second_moment)
    factor = axes * np.sqrt(np.maximum(variances, 0))
    return blendshapes @ factor.astype(blendshapes.dtype)


def plausible_weights(names: list[str], count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, K] blendshape weights in [0, 1]: few units at a time, left and right mostly alike.

    Opposite units exclude each other, both eyes look the same way, and a corrective unit is at most
    as strong as the unit that it corrects.
    """
    units = sorted({_unit(name) for name in names})
    column = {unit: i for i, unit in enumerate(units)}
    shape = (count, len(units))
    strength = np.where(rng.random(shape) < _ACTIVE, rng.random(shape), 0.0)
    for one, other in _OPPOSITES:
        if one in column and other in column:
            _exclude(strength, column[one], column[other], rng)
    tied = rng.random(shape) < _TIED
    side = {mark: strength * np.where(tied, 1.0, rng.random(shape)) for mark in ("_L", "_R")}
    weights = np.stack(
        [side.get(name[-2:], strength)[:, column[_unit(name)]] for name in names], axis=1
    )
    _follow(weights, {name: i for i, name in enumerate(names)}, rng)
    return weights


def _exclude(weights: np.ndarray, one: int, other: int, rng: np.random.Generator) -> None:
    """Where two units are active, only one of them stays, by chance."""
    both = (weights[:, one] > 0) & (weights[:, other] > 0)
    keeps_one = rng.random(len(weights)) < 0.5
    weights[both & keeps_one, other] = 0
    weights[both & ~keeps_one, one] = 0


def _follow(weights: np.ndarray, place: dict[str, int], rng: np.random.Generator) -> None:
    """Both eyes look to the same side, and correctives go with the unit that they correct."""
    if all(name in place for pair in _GAZE for name in pair):
        _exclude(weights, *(place[inward] for inward, _ in _GAZE), rng)
        for inward, outward in _GAZE:
            weights[:, place[outward]] = weights[:, place[inward]]
    for corrective, main in _CORRECTIVES.items():
        if corrective in place and main in place:
            share = rng.random(len(weights)) * (rng.random(len(weights)) < _CORRECTED)
            weights[:, place[corrective]] = share * weights[:, place[main]]


def _unit(name: str) -> str:
    return name[:-2] if name.endswith(("_L", "_R")) else name
