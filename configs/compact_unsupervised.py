from configs import compact


def get_config():
    config = compact.get_config()
    config.loss.landmark = 0.0
    config.optimizer.learning_rate = 3e-4
    config.loss.regularizer = 6e-4
    config.loss.regularizer_start = 6e-4
    config.loss.regularizer_steps = 0
    config.data.augmentation.flip = 0.5
    return config
