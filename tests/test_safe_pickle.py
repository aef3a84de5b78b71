"""Pickled arrays are read, and nothing that a pickle names is run."""

import collections
import io
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.safe_pickle import load_object_npy, load_pickle


@pytest.fixture
def chumpy(monkeypatch):
    """Modules that pickle writes chumpy's names from; they are gone before anything is read."""

    class Ch:
        pass

    class Select:
        pass

    for module, kind in (("chumpy.ch", Ch), ("chumpy.reordering", Select)):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        fake = types.ModuleType(module)
        setattr(fake, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return Ch, Select


def write(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_are_read(tmp_path, protocol):
    rng = np.random.default_rng(0)
    value = {
        "float": rng.normal(size=(4, 3)),
        "fortran": np.asfortranarray(rng.normal(size=(4, 3))),
        "int": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "nested": {"list": [1, 2.5, "text", None], "scalar": np.float32(3.5)},
        "sparse": scipy.sparse.csc_matrix(np.eye(3)),
        "set": {1, 2},
        "order": collections.OrderedDict(a=1),
    }
    read = load_pickle(write(tmp_path / "a.pkl", value, protocol))
    for key in ("float", "fortran", "int"):
        np.testing.assert_array_equal(read[key], value[key])
        assert read[key].dtype == value[key].dtype
    assert read["nested"]["list"] == [1, 2.5, "text", None]
    assert read["nested"]["scalar"] == np.float32(3.5)
    np.testing.assert_array_equal(read["sparse"], np.eye(3))
    assert read["set"] == {1, 2}


def test_python_2_pickles_are_read(tmp_path):
    """Protocol 2 with byte strings and Python 2's module names, as FLAME's files have."""
    text = pickle.dumps({"name": "FLAME", "v": np.arange(3.0)}, 2)
    text = text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "old.pkl").write_bytes(text)
    np.testing.assert_array_equal(load_pickle(tmp_path / "old.pkl")["v"], np.arange(3.0))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_chumpy_arrays_are_read_without_chumpy(tmp_path, chumpy, monkeypatch, protocol):
    kind, select = chumpy
    values = np.random.default_rng(1).normal(size=(5, 3))
    leaf = kind()
    leaf.__dict__ = {"x": values, "_dirty_vars": set(), "_itr": None, "_depends_on_deps": {}}
    part = select()
    part.__dict__ = {"a": leaf, "idxs": np.array([3, 4, 5]), "preferred_shape": (1, 3)}
    path = write(tmp_path / "chumpy.pkl", {"shapedirs": leaf, "row": part}, protocol)
    for module in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, module)
    read = load_pickle(path)
    np.testing.assert_array_equal(read["shapedirs"], values)
    np.testing.assert_array_equal(read["row"], values[1:2])


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, open])
def test_a_pickle_that_runs_code_is_refused_unrun(tmp_path, function):
    witness = tmp_path / "ran"
    argument = {open: str(witness)}.get(function, f"open({str(witness)!r}, 'w')")
    arguments = (argument, "w") if function in (open, getattr) else (argument,)
    path = write(tmp_path / "evil.pkl", {"v_template": _Runs(function, *arguments)})
    with pytest.raises(
        FaceModelError, match=rf"evil\.pkl: the pickle names \S*{function.__name__}"
    ):
        load_pickle(path)
    assert not witness.exists()


def test_names_outside_the_list_are_refused_wherever_they_hide(tmp_path):
    hidden = np.array([_Runs(print, "ran")], dtype=object)
    with pytest.raises(FaceModelError, match=r"names (builtins|__builtin__)\.print"):
        load_pickle(write(tmp_path / "hidden.pkl", {"a": hidden}))
    buffer = io.BytesIO()
    np.save(buffer, np.array({"a": _Runs(print, "ran")}), allow_pickle=True)
    (tmp_path / "hidden.npy").write_bytes(buffer.getvalue())
    with pytest.raises(FaceModelError, match="could run code"):
        load_object_npy(tmp_path / "hidden.npy")


def test_object_npy_gives_the_dictionary_in_it(tmp_path):
    value = {"static_lmk_faces_idx": np.arange(51), "n": 3}
    np.save(tmp_path / "embedding.npy", value, allow_pickle=True)
    read = load_object_npy(tmp_path / "embedding.npy")
    np.testing.assert_array_equal(read["static_lmk_faces_idx"], np.arange(51))
    np.save(tmp_path / "plain.npy", np.arange(4))
    np.testing.assert_array_equal(load_object_npy(tmp_path / "plain.npy"), np.arange(4))


def test_a_pickle_cut_short_anywhere_is_one_sentence(tmp_path):
    whole = pickle.dumps({"v": np.arange(30.0), "f": np.arange(9)}, 2)
    for length in range(1, len(whole) - 1, 7):
        (tmp_path / "cut.pkl").write_bytes(whole[:length])
        with pytest.raises(FaceModelError, match=r"cut\.pkl: cannot be read as a pickle"):
            load_pickle(tmp_path / "cut.pkl")


class Call:
    """Pickled as a call of a function by its name."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pointers(kind):
    """Ways to have bytes taken for pointers to objects, in an array of `kind`."""
    state = (1, (1,), kind, False, b"A" * 8)
    rebuilt = (np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)
    return {
        "constructor": Call(np.ndarray, (1,), kind, b"A" * 8),
        "buffer": Call(np._core.numeric._frombuffer, b"A" * 8, kind, (1,), "C"),
        "scalar": Call(np._core.multiarray.scalar, kind, b"A" * 8),
        "state": type("State", (), {"__reduce__": lambda self: rebuilt})(),
    }


def test_no_bytes_of_a_pickle_become_objects(tmp_path):
    """In a process of their own, which such an object would end."""
    paths = [
        write(tmp_path / f"{way}-{number}.pkl", [value])
        for number, kind in enumerate([np.dtype("O"), np.dtype([("a", "O")])])
        for way, value in pointers(kind).items()
    ]
    code = (
        "import pathlib, sys; from mofa_jax.face_models import safe_pickle, flame\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(safe_pickle.load_pickle(pathlib.Path(path)), flush=True)\n"
        "    except safe_pickle.FaceModelError as error: print('refused:', error, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-500:]
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        assert line.startswith("refused: ") and str(path) in line


def test_a_place_far_away_is_refused_before_a_table_is_made(tmp_path):
    path = tmp_path / "far.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(FaceModelError, match="kept at place 2147483647"):
        load_pickle(path)
