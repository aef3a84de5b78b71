"""The autoencoder of the paper's Fig. 13: its code is whatever serves the picture."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mofa_jax.baselines.convolutional_decoder import ConvolutionalDecoder
from mofa_jax.baselines.pixels import PixelLearner
from mofa_jax.camera import Camera
from mofa_jax.encoders import encoder_from_config
from mofa_jax.face_model import FaceModel
from mofa_jax.numerics import as_floats
from mofa_jax.params import code_size
from mofa_jax.training.initial_weights import initial_weights, random_weights


class ConvolutionalAutoencoder(PixelLearner):
    """An encoder and a decoder are learned together, with a code as long as the face model's."""

    def __init__(self, config: ConfigDict, model: FaceModel, cam: Camera):
        super().__init__(config)
        self._model, self._cam, self._num_codes = model, cam, code_size(model)
        self._encoder = encoder_from_config(config.encoder, self._num_codes)
        self._decoder = ConvolutionalDecoder(cam.image_size)

    def initial_weights(self) -> dict:
        encoder = initial_weights(self._encoder, self.config, self._model, self._cam)
        return {"encoder": encoder, "decoder": self._decoder_weights()}

    def random_weights(self) -> dict:
        encoder = random_weights(self._encoder, self.config.seed, self._cam)
        return {"encoder": encoder, "decoder": self._decoder_weights()}

    def draw(self, weights: dict, batch: dict[str, jax.Array]) -> jax.Array:
        codes = self._encoder.apply(weights["encoder"], as_floats(batch["image"]))
        return self._decoder.apply(weights["decoder"], codes)

    def _decoder_weights(self) -> dict:
        key = jax.random.fold_in(jax.random.key(self.config.seed), 1)  # 0 is the encoder's
        return self._decoder.init(key, jnp.zeros((1, self._num_codes)))
