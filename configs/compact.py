from configs import default


def get_config():
    config = default.get_config()
    config.encoder.name = "compact"
    config.batch_size = 16
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 4e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.optimizer.clip_norm = 1.0
    config.optimizer.factors.translation_z = 1.0
    config.loss.landmark = 1.0
    return config
