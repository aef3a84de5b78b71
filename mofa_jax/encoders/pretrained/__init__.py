"""Pretrained weights for `AlexNet` and `VGGFace`, read from the files that their authors publish.

| file | where it comes from | for |
|---|---|---|
| bvlc_alexnet.caffemodel | Caffe model zoo, BVLC AlexNet | `AlexNet(variant="caffe")` |
| alexnet-owt-*.pth | torchvision, `AlexNet_Weights` | `AlexNet(variant="torchvision")` |
| VGG_FACE.caffemodel | VGG Face Descriptor, vgg_face_caffe.tar.gz | `VGGFace` |
| vgg-face.mat, vgg_face.mat | MatConvNet's pretrained models; vgg_face_matconvnet | `VGGFace` |
| .pth | PyTorch conversions of VGG_FACE.t7 or of vgg-face.mat | `VGGFace` |

The readers need neither Caffe nor PyTorch, and run no code that a file names.
"""

from mofa_jax.encoders.pretrained.errors import PretrainedWeightsError as PretrainedWeightsError
from mofa_jax.encoders.pretrained.load import load_pretrained as load_pretrained
