"""Codes found by optimization: a face model fitted to photographs."""

from mofa_jax.fitting.energy import FitWeights as FitWeights
from mofa_jax.fitting.optimize import Fit as Fit
from mofa_jax.fitting.optimize import fit as fit
from mofa_jax.fitting.optimize import fit_person as fit_person
