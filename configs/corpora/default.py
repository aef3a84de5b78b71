"""Every field of a corpus, with its unit and source; (P) is the paper's value.

Other configs start from this one. On the command line any field can be changed too:
`--config.source.path=FOLDER`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A folder of photographs."""
    config = ConfigDict()
    config.seed = 0  # of the choice who is held out
    config.eval_count = 0  # faces held out for evaluation (P: 5,000), to the next whole group; or
    config.eval_fraction = 0.04  # the share of all groups, by a hash of their names
    config.encoding = "jpeg"  # of the crops: jpeg or png
    config.jpeg_quality = 95
    config.crop = "haar"  # the square around the detector's box (P), or around known landmarks
    config.image_size = 240  # side of the crops, px (P); the camera's in training
    config.source = _source()
    config.detector = ConfigDict()
    config.detector.max_pixels = 2_000_000  # a larger photograph is shrunk before the search
    config.landmarks = ConfigDict()
    config.landmarks.file = ""  # .json or .npz of known landmarks; "" = the landmarks.json or .npz
    # in the folder of photographs, if any; .pts are found anyway
    config.landmarks.pixel_centers = "integer"  # where that file puts them: integer or half (+0.5)
    config.landmarks.detector = "dlib"  # for other faces: dlib, none, or module:attribute
    config.pruning = _pruning()
    return config


def _source() -> ConfigDict:
    source = ConfigDict()
    source.kind = "photographs"  # photographs, videos, or tfds (a prepared data set)
    source.path = ""  # folder, glob, file or @list.txt, to whose folder names are relative; of tfds
    # the data set's folder or name
    source.group_pattern = ""  # regular expression on a name: who it is; "" = nobody twice
    source.group_by = "name"  # what it is searched in: the name (path below the folder) or the stem
    source.group_file = ""  # a text file of lines "file-name person" instead, or with a tab between
    source.every = 1  # of a video, every how many-th frame
    source.split = "train"  # of tfds
    source.image = "image"  # the feature of tfds that holds the picture
    source.person = ""  # the feature of tfds that names the person; "" = nobody twice
    return source


def _pruning() -> ConfigDict:
    pruning = ConfigDict()
    pruning.min_face = 40.0  # side of the detector's box, px; 0 = off
    pruning.max_disagreement = 0.3  # of landmarks and box, in sides of the box
    pruning.min_confidence = 0.6  # mean over the 68 landmarks; 0 = off
    pruning.second_opinion = True  # on all but the largest face, and where landmarks are unsure
    pruning.min_sharpness = 0.06  # of the crop: its fine detail over its contrast; 0 = off
    pruning.min_change = 4.0  # from a clip's last kept face, gray levels of 255; 0 = off
    return pruning
