"""Every field of an experiment, with its unit and source; (P) is the paper's value.

Other configs start from this one and override a few fields. On the command line any field can be
changed too: `--config.batch_size=16`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's unsupervised training with AlexNet, on the built-in face model."""
    config = ConfigDict()
    config.seed = 0  # of the encoder's initial weights, the batches' order and the augmentation
    config.batch_size = 5  # photographs a step, over all devices and processes (P)
    config.num_steps = 200_000  # optimizer steps (P)
    config.face_model = "open"  # a file of the face-model format, or a built-in model's name
    config.start = ConfigDict()  # an experiment that runs first, in <workdir>/start, with the same
    # seed, face model, camera and encoder, which this one starts from; or, of convolutional_fixed,
    # whose decoder it holds fixed; empty, or of no steps = none
    config.camera = _camera()
    config.encoder = _encoder()
    config.decoder = _decoder()
    config.loss = _loss()
    config.optimizer = _optimizer()
    config.data = _data()
    config.steps_at_once = 0  # steps that the devices take before the host looks, as far as the
    # next three numbers allow: their greatest common divisor; 0 = 1 on a CPU, 100 elsewhere
    config.log_every = 20  # steps between two TensorBoard points
    config.image_every = 500  # steps between two pictures of faces from training and evaluation
    config.eval_every = 1000  # steps between two evaluations on the held-out photographs
    config.checkpoint_every_minutes = 10.0  # also at the end and on SIGTERM
    config.keep_checkpoints = 3  # the newest that are kept
    config.reconstruct = (
        ""  # photographs to reconstruct after training; "astronaut": NASA's portrait
    )
    config.max_loss = 100.0  # a larger training loss, of either sign, or NaN stops the run
    return config


def _camera() -> ConfigDict:
    camera = ConfigDict()
    camera.image_size = 240  # side of the square crop, px (P)
    camera.focal = 1087.5  # focal length, px of a 240 px crop, whatever image_size is; the
    # principal point is the crop's center
    camera.distance = 10.0  # camera to face at the zero code, dm
    return camera


def _encoder() -> ConfigDict:
    encoder = ConfigDict()
    encoder.name = "alexnet"  # alexnet (P), vgg_face (P), compact, convolutional (P: of Fig. 13)
    encoder.variant = "caffe"  # of alexnet: caffe (P: bvlc_alexnet) or torchvision
    encoder.dtype = "float32"  # of what the hidden layers compute, float32 (P) or bfloat16: faster
    # on a GPU; weights, codes, decoder and optimizer are float32
    encoder.pretrained = ""  # file of weights for all but the last layer, or for all layers another
    # run's workdir or "open", the bundled encoder; "" = He initialization
    return encoder


def _decoder() -> ConfigDict:
    decoder = ConfigDict()
    decoder.name = "face_model"  # face_model (P), which has no learned weights; or, of the paper's
    # comparisons: convolutional, learned with the encoder (Fig. 13); convolutional_from_codes,
    # learned alone from rendered faces; convolutional_fixed, that one held fixed (Fig. 14). These
    # three compare pixels: of the loss, `photometric` and, in the last, the priors of codes count
    decoder.pretrained = ""  # of convolutional_fixed: the workdir of the convolutional_from_codes
    # run; "" = that of `start`
    return decoder


def _loss() -> ConfigDict:
    loss = ConfigDict()
    loss.photometric = 1.92  # w_photo, Eq. 7 (P)
    loss.photometric_geometry = 1.0  # share of that term's gradient that reaches geometry and pose
    # (P: 1); it draws faces too small, the next two terms do not
    loss.patch_correlation = 0.0  # weight of 1 - the correlation of gray values in 48 patches of
    # the face (P: none)
    loss.area_photometric = 0.0  # weight of the distance over the face's screen area (P: none)
    loss.area_threshold = 0.1  # where that distance is cut off, of RGB in [0, 1]
    loss.landmark = 0.0  # w_land, Eq. 7: 0 = unsupervised, no landmark is read; 1 = surrogate (P)
    loss.closure = 0.0  # weight of Eq. 9 of the vectors between lids and lips that face each other,
    # which tell whether eyes and mouth are closed (P: none); above 0 landmarks are read, too
    loss.code = 0.0  # weight of the distance to the true code, where it is known: of rendered faces
    # (P: none); of pose and light only where the augmentation leaves them alone
    loss.loopback = 0.0  # weight of Eq. 9 between predictions that are changed and drawn again,
    # with the surroundings of data.synthetic, and what the encoder finds there (P: none)
    loss.loopback_code = 0.0  # weight of the distance of their codes (P: none)
    loss.regularizer = 2.9e-5  # w_reg, Eq. 7 (P)
    loss.reflectance = 1.7e-3  # w_beta, Eq. 10 (P)
    loss.expression = 0.8  # w_delta, Eq. 10 (P)
    loss.population_pose = 0.0  # weight of the squared average over all faces of rotation, radians,
    # and translation, dm (P: none)
    loss.population_place = 0.0  # the same of where the middle of a face's landmarks is drawn, from
    # where the average face's is, dm: faces lie, on average, in the middle of their squares
    loss.light = 0.0  # weight within E_reg of the light's distance from real light, squared
    # standard deviations (losses.light_prior): keeps a skin's tone out of the light (P: none)
    return loss


def _optimizer() -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.name = "adadelta"  # adadelta (P) or adam
    optimizer.learning_rate = 0.1  # (P)
    optimizer.schedule = "constant"  # constant (P), or cosine: falls to zero over num_steps
    optimizer.warmup_steps = 0  # steps in which the rate rises linearly from zero
    optimizer.rho = 0.95  # AdaDelta's decay: Caffe's momentum in its AdaDelta examples
    optimizer.eps = 1e-8  # AdaDelta's delta: Caffe's default
    optimizer.clip_norm = 0.0  # the gradient's largest norm; 0 = not clipped (P)
    optimizer.factors = ConfigDict()  # of the last layer's rate, by part of the code
    optimizer.factors.shape = 1.0
    optimizer.factors.expression = 1.0
    optimizer.factors.reflectance = 1.0
    optimizer.factors.rotation = 1.0
    optimizer.factors.translation_xy = 1.0
    optimizer.factors.translation_z = 0.005  # rate 0.0005 instead of 0.1 (P)
    optimizer.factors.illumination = 1.0
    return optimizer


def _data() -> ConfigDict:
    data = ConfigDict()
    data.kind = "photographs"  # photographs (a folder), tfds (a prepared data set), synthetic
    data.path = ""  # folder or glob of photographs; TFDS builder directory; unused by synthetic
    data.mixture = ""  # of tfds, instead of path: builder directories and how often an example
    # comes from each, DIRECTORY=WEIGHT,DIRECTORY=WEIGHT
    data.cache = ""  # folder for the crops found in `path`; "" = <workdir>/corpus
    data.landmarks = ""  # landmark file; "" = the one in the folder, if any
    data.pixel_centers = "integer"  # where that file puts pixel centers: integer or half (+0.5)
    data.only_clean = False  # only photographs that the landmark file marks as clean
    data.require_landmarks = False  # leave out faces without landmarks
    data.crop = "haar"  # the square around the detector's box (P), or around the landmarks
    data.faces = "all"  # faces of a photograph that are used: all or central
    data.group_pattern = (
        ""  # regular expression on the file's stem: who is shown; "" = nobody twice
    )
    data.eval_fraction = 0.04  # of the groups, held out by a hash of their names (P: 5k of 147k)
    data.num_eval = 512  # held-out photographs an evaluation reads at most, spread over all, one at
    # least of each corpus; rendered faces come in whole batches of 16
    data.device_cache = "auto"  # all training faces as uint8 on the devices: on, off, or auto: on
    # an accelerator with room for them; not of synthetic
    data.augmentation = ConfigDict()  # 0 = off everywhere (P)
    data.augmentation.flip = 0.0  # probability of mirroring
    data.augmentation.scale = 0.0  # largest factor - 1
    data.augmentation.shift = 0.0  # largest shift, px of the camera's image
    data.augmentation.rotation = 0.0  # largest in-plane rotation, degrees
    data.augmentation.occluder = 0.0  # probability of a textured shape before the face
    data.augmentation.exposure = 0.0  # largest change, photographic stops
    data.augmentation.contrast = 0.0  # largest factor - 1
    data.augmentation.color = 0.0  # largest factor - 1 of a channel
    data.augmentation.jpeg = 0.0  # largest loss of JPEG quality, of 100
    data.synthetic = _synthetic()
    return data


def _synthetic() -> ConfigDict:
    """Rendered faces. Spreads are standard deviations; the values are those of photographs."""
    synthetic = ConfigDict()
    synthetic.backgrounds = ""  # folder or glob of photographs (P); "" = procedural
    synthetic.num_backgrounds = 500  # of them kept in memory, 307 kB each, in a split
    synthetic.shape = 1.0  # of alpha, model's standard deviations
    synthetic.expression = 1.0  # of delta, the same
    synthetic.reflectance = 0.8  # of beta, the same
    synthetic.smile = 0.0  # how often a face smiles, up to broadly; most of LFW's faces do
    synthetic.pitch = 12.0  # of the rotation's x, degrees
    synthetic.yaw = 20.0  # of its y
    synthetic.roll = 8.0  # of its z
    synthetic.translation_x = 0.045  # dm; 0.01 is 1.1 px
    synthetic.translation_y = 0.045  # the same
    synthetic.translation_z = 0.8  # dm; 1 is a tenth of the face's size
    synthetic.limit = 2.5  # where all normal distributions are cut off, standard deviations
    synthetic.brightness = 0.95  # median of the light on the face, 1 = the reflectance itself
    synthetic.brightness_spread = 0.15  # of the light's logarithm
    synthetic.tint_spread = 0.05  # of the logarithm of each light's red, green and blue
    synthetic.directed_least = 0.0  # smallest share of the light that comes from one direction
    synthetic.directed_most = 0.7  # its largest share
    synthetic.azimuth = 40.0  # of that direction, to the sides, degrees
    synthetic.elevation = 20.0  # mean of that direction, upwards, degrees
    synthetic.elevation_spread = 20.0  # degrees
    synthetic.head = 0.8  # how often hair, neck and clothes are painted around the face
    synthetic.fringe = 0.0  # how often hair falls over the forehead; 0.4 times that over each side
    synthetic.glasses = 0.0  # how often glasses are drawn
    synthetic.feather = 3.0  # largest standard deviation of the softening of the face's edge, px
    synthetic.occluder = 0.3  # how often each of two things is painted before the face
    synthetic.blur = 1.8  # largest standard deviation of the blur, px
    synthetic.noise = 0.03  # largest standard deviation of the pixel noise, of white
    synthetic.contrast = 0.1  # of the logarithm of the exponent of the picture's tone curve
    return synthetic
