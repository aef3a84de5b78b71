"""A small encoder from scratch without any landmark."""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.loss.landmark = 0.0
    config.optimizer.learning_rate = 3e-4
    config.loss.regularizer = config.loss.regularizer_start = 6e-4
    return config
