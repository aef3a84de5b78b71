"""MATLAB files are read as SciPy reads what it has written; damaged ones are refused."""

import numpy as np
import pytest
import scipy.io

from mofa_jax.files.matlab import MatlabError, read_matlab

RNG = np.random.default_rng(0)
ARRAYS = {
    "single": RNG.normal(size=(3, 68)).astype(np.float32),
    "double": RNG.normal(size=(5, 4, 3)),
    "small_integers_of_a_double": np.arange(12.0).reshape(3, 4),
    "bytes": RNG.integers(0, 256, (7, 1), np.uint8),
    "signed": RNG.integers(-9, 9, (2, 2), np.int16),
    "one": np.array([[2.5]]),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_scipys(tmp_path, compressed):
    others = {"text": "abc", "cell": np.array([1, "a"], object), "complex": np.array([1 + 2j])}
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {**others, **ARRAYS}, do_compression=compressed)
    found, expected = read_matlab(path, [*ARRAYS, *others, "missing"]), scipy.io.loadmat(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])
    assert read_matlab(path, ["one"]).keys() == {"one"}


def test_other_files_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.mat"
    for content in (b"", b"text" * 100, bytes(124) + b"\0\1IM" + b"\x0e\0\0\0\xff\0\0\0"):
        path.write_bytes(content)
        with pytest.raises(MatlabError, match=r"a\.mat: cannot be read as MATLAB 5 .* copy it"):
            read_matlab(path, ["one"])
    with pytest.raises(MatlabError, match="No such file"):
        read_matlab(tmp_path / "b.mat", [])


def test_a_bomb_is_not_inflated_beyond_what_it_says(tmp_path):
    import zlib

    small = zlib.compress(np.array([14, 64], "<u4").tobytes() + bytes(10**8))
    element = np.array([15, len(small)], "<u4").tobytes() + small
    (tmp_path / "a.mat").write_bytes(bytes(124) + b"\0\1IM" + element)
    with pytest.raises(MatlabError):
        read_matlab(tmp_path / "a.mat", ["one"])
