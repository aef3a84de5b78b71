"""The paper's tables and figures that hold numbers, and which of our results stand beside them."""

import dataclasses
from collections.abc import Mapping

Numbers = Mapping[str, float]
"""Values by their column's key."""


@dataclasses.dataclass(frozen=True)
class Column:
    """title: over the column; format: of its numbers."""

    title: str
    format: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What one table or figure of the paper is about.

    Attributes:
      title: ours, with the paper's place.
      about: the protocol, and how ours differs.
      paper: the numbers that the paper prints, by whose they are.
      ours: names of results in docs/results/, by whose they are.
      missing: why there is no result, by whose it would be.
    """

    title: str
    about: str
    paper: Mapping[str, Numbers]
    ours: Mapping[str, str]
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)


COLUMNS = {
    "geometric_error": Column("geometry, mm", ".2f"),
    "scan_error": Column("to the scan, mm", ".2f"),
    "photometric_error": Column("colors", ".3f"),
    "landmark_error": Column("landmarks, px", ".2f"),
    "scale_bias": Column("scale", ".3f"),
    "verified": Column("pairs right, %", ".1f"),
    "milliseconds": Column("ms a crop", ".3f"),
}

_NEEDS_GPU = (
    "It takes a GPU: 200,000 steps are six minutes of AlexNet on an H200, 12 to 17 of VGG-Face, a "
    "day and more on two CPU cores."
)


def _errors(geometric=None, photometric=None, landmark=None) -> Numbers:
    names = ("geometric_error", "photometric_error", "landmark_error")
    values = zip(names, (geometric, photometric, landmark), strict=True)
    return {name: value for name, value in values if value is not None}


EXPERIMENTS = (
    Experiment(
        "Synthetic ground truth (Fig. 10)",
        "Rendered faces, learned from without their truth, which then measures. "
        "Ours: `open`, clean pictures before procedural backgrounds, ranges such that the average "
        "face is about as far away as the paper's. At the true codes themselves the colors are "
        "0.054 off: inner lips, teeth and nostrils face the camera behind other skin.",
        {
            "start": _errors(21.6, 0.33, 31.6),
            "AlexNet, 200,000 steps of 5": _errors(4.5, 0.05, 3.9),
        },
        {
            "compact, the losses of compact_unsupervised.py": "truth.compact",
            "AlexNet, the paper's recipe": "truth.alexnet",
        },
        {"AlexNet, the paper's recipe": _NEEDS_GPU},
    ),
    Experiment(
        "Photographs (Fig. 9, Sec. 7)",
        "The paper: 5,000 held-out photographs of CelebA, LFW, FaceWarehouse and 300-VW, encoders "
        "that start from ImageNet's or VGG-Face's weights. Ours start from He initialization; "
        "other photographs, other landmarks, another face model: for orientation only. "
        "LFW: people held out of training; `lfpw_test`: 300-W's LFPW test photographs, cut by the "
        "detector's square; FRL: Face Research Lab London's neutral portraits.",
        {
            "AlexNet, no labels": _errors(None, 0.075, 5.3),
            "VGG-Face, no labels": _errors(None, 0.073, 4.9),
            "AlexNet, surrogate (landmarks)": _errors(None, 0.078, 3.7),
            "VGG-Face, surrogate": _errors(None, 0.078, 3.4),
        },
        {
            "AlexNet, no labels, LFW": "photographs.alexnet",
            "AlexNet, surrogate, LFW": "photographs.alexnet_surrogate",
            "VGG-Face, no labels": "photographs.vgg_face",
            "VGG-Face, surrogate, LFW": "photographs.vgg_face_surrogate",
            "compact, no labels, LFW": "unsupervised.lfw",
            "compact, no labels, lfpw_test": "unsupervised.lfpw",
            "the same in batches of 64 on a GPU, LFW": "unsupervised_long.lfw",
            "the same, lfpw_test": "unsupervised_long.lfpw",
            "the bundled encoder (landmarks), LFW": "built_in.lfw",
            "the bundled encoder, lfpw_test": "built_in.lfpw",
            "the bundled encoder, FRL": "built_in.frl",
        },
        {
            "VGG-Face, no labels": _NEEDS_GPU,
        },
    ),
    Experiment(
        "Coarse regressors (Fig. 4 and 5)",
        "The paper argues that an encoder which only regresses codes of rendered faces (as "
        "Richardson et al. do) does not carry over to photographs. Ours: the same network on the "
        "same rendered faces, seed 0, once with the distance of the codes as its only loss "
        "(`configs/code_regression.py`). Landmarks and Eq. 8 as the loss instead, the same "
        "network, faces, steps and seed (`configs/compact_synthetic.py`, on an H200): 6.9 mm, "
        "4.0 px and 0.130 on rendered faces, 5.22 px and 0.179 on LFW. Both with "
        "`--config.num_steps=2400` (the last calls alone are timed), before the config's "
        "faces smiled, wore glasses and had hair before the forehead.",
        {},
        {
            "codes alone, held-out rendered faces": "code_regression",
            "codes alone, LFW": "code_regression.lfw",
            "codes alone, lfpw_test": "code_regression.lfpw",
        },
    ),
    Experiment(
        "Fitting (Fig. 6 and 7)",
        "The paper shows Thies et al. (half a second a face) and Garrido et al. (a minute a face, "
        "50 Gauss-Newton steps; on FaceWarehouse the numbers below). Ours: `mofa_jax.fit` on "
        "`lfpw_test`, cut about its landmarks, which are also what is fitted to; the bundled "
        "encoder finds faces and landmarks itself.",
        {"Garrido et al., on FaceWarehouse": _errors(None, 0.052, 2.6)},
        {
            "fit": "fit.lfpw",
            "the bundled encoder with --refine=5": "built_in.lfpw_fitted",
            "the bundled encoder with --refine=10": "built_in.lfpw_refined",
        },
    ),
    Experiment(
        "Meshes (Table 1)",
        "The paper: 180 meshes of FaceWarehouse. Ours: 20 rendered faces of ICT-FaceKit's model.",
        {
            "MoFA, no labels": {"scan_error": 1.9, **_errors(None, 0.065, 5.0)},
            "MoFA, surrogate": {"scan_error": 1.7, **_errors(None, 0.068, 3.2)},
            "Garrido et al.": {"scan_error": 1.4, **_errors(None, 0.052, 2.6)},
        },
        {"open": "scans"},
        {"open": "It was, before results were kept as files: see below."},
    ),
    Experiment(
        "Verification (LFW's pairs, view 2)",
        "Whether two photographs show one person, by the cosine of shape and reflectance codes; "
        "ten folds. The paper's baseline is another 3DMM's codes. Ours are of the first fifth of "
        "each fold, 1,200 pairs; [the model card](model_card.md) has all 6,000.",
        {"MoFA": {"verified": 77.0}, "baseline": {"verified": 75.0}},
        {
            "the bundled encoder": "likeness",
            "the same, fitted by five steps": "likeness_refined",
        },
    ),
    Experiment(
        "Run time of the encoders (Sec. 7)",
        "The paper's on a GTX TitanX. It trained AlexNet for 13 hours and VGG-Face for 20; "
        "[gpu.md](gpu.md) has what a step takes here.",
        {"AlexNet": {"milliseconds": 4.0}, "VGG-Face": {"milliseconds": 14.0}},
        {"here": "gpu.inference"},
    ),
)
