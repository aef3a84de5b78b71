"""Tells the kinds of weight files apart by their first bytes, not by their names."""

from pathlib import Path

from mofa_jax.encoders.pretrained.errors import PretrainedWeightsError, refuse

CAFFE, TORCH, MATCONVNET = "Caffe", "PyTorch", "MatConvNet"

_EXPECTED = "pretrained weights (.caffemodel, .pth or MatConvNet's .mat)"
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_TORCH7 = b"\x04\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00V 1"
_UNPACK = "unpack it and give the file inside"
_WRONG_KINDS = (
    (b"MATLAB 7.3", "MATLAB 7.3 file", "save it again in MATLAB with save(..., '-v7')"),
    (b"\x89HDF", "HDF5 file", "use one of the published files in another format"),
    (b"\x1f\x8b", "gzip archive", _UNPACK),
    (b"Rar!", "RAR archive", _UNPACK),
    (b"7z\xbc\xaf", "7z archive", _UNPACK),
    (_TORCH7, "Torch7 file (.t7)", "use the .caffemodel, the .mat or a .pth made from it"),
    (b"version https://git-lfs", "Git LFS pointer", "fetch the file itself with `git lfs pull`"),
    (b"\x80", "pickle that torch.save did not write", "save it with torch.save"),
)


def file_kind(path: str | Path) -> str:
    """CAFFE, TORCH or MATCONVNET; what is no other known kind of file is taken for CAFFE.

    Raises:
      PretrainedWeightsError: no such file, an empty one, or one of a kind that holds no weights.
    """
    head = _head(path)
    if head.startswith((b"PK\x03\x04", _LEGACY_TORCH)):
        return TORCH
    if head.startswith(b"MATLAB 5.0"):
        return MATCONVNET
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise refuse(path, _EXPECTED, "an HTML page", "download the file itself")
    if head[257:262] == b"ustar":
        raise refuse(path, _EXPECTED, "a tar archive", _UNPACK)
    for magic, name, mend in _WRONG_KINDS:
        if head.startswith(magic):
            article = "an" if name[0] in "AEIOH" else "a"
            raise refuse(path, _EXPECTED, f"{article} {name}", mend)
    return CAFFE


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); check the path of the weight file."
        raise PretrainedWeightsError(message) from error
    if not head:
        raise refuse(path, _EXPECTED, "an empty file", "download it again")
    return head
