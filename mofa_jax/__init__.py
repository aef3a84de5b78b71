"""MoFA in JAX: a differentiable face renderer and the autoencoder that learns from photographs."""

from mofa_jax import editing as editing
from mofa_jax import losses as losses
from mofa_jax import metrics as metrics
from mofa_jax.camera import Camera as Camera
from mofa_jax.face_model import FaceModel as FaceModel
from mofa_jax.face_model import FaceModelError as FaceModelError
from mofa_jax.face_models.load import load_face_model as load_face_model
from mofa_jax.fitting import Fit as Fit
from mofa_jax.fitting import FitWeights as FitWeights
from mofa_jax.fitting import fit as fit
from mofa_jax.fitting import fit_person as fit_person
from mofa_jax.inference import Predictor as Predictor
from mofa_jax.inference import load_for_inference as load_for_inference
from mofa_jax.params import FaceParams as FaceParams
from mofa_jax.rasterizer import rasterize as rasterize
from mofa_jax.renderer import Rendering as Rendering
from mofa_jax.renderer import render as render
from mofa_jax.results.clip import load_clip as load_clip
from mofa_jax.results.parameter_file import load_parameters as load_parameters
