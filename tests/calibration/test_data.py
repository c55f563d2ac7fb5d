"""DATA: every form, slices, units, labels, and what is refused. Expected arrays are written out or made by NumPy alone."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from calibration.data import Samples, load_samples
from calibration.data_images import default_pixel_range
from calibration.rows import to_real
from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.errors import DataError, EnvironmentFault
from toolchain.ir.graph import Value
from toolchain.ir.types import DType, TensorType, f32, i8

X = Value("x_in", f32(1, 2, 3))
Q = Value("x_in", i8((1, 2, 3), 0.5, 3))


def taken(samples: Samples) -> list[np.ndarray]:
    return [arrays[0] for arrays in samples]


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def counting(count: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(count * 6).reshape(count, 2, 3).astype(dtype)


# --- .npy


def test_npy_counts_samples_on_axis_0(tmp_path: Path) -> None:
    samples = load_samples(saved(tmp_path / "a.npy", counting(4)), [X])
    assert samples.count == 4
    assert samples.labels is None
    np.testing.assert_array_equal(np.concatenate(taken(samples)), counting(4))
    assert taken(samples)[0].shape == (1, 2, 3)
    np.testing.assert_array_equal(np.concatenate(taken(samples)), counting(4), err_msg="a second pass gives the same")


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3)])
def test_npy_of_one_sample_alone(tmp_path: Path, shape: tuple[int, ...]) -> None:
    samples = load_samples(saved(tmp_path / "a.npy", counting(1).reshape(shape)), [X])
    assert samples.count == 1
    np.testing.assert_array_equal(taken(samples)[0], counting(1))


def test_npy_in_fortran_order_and_with_dimensions_of_one(tmp_path: Path) -> None:
    array = np.asfortranarray(counting(5).reshape(5, 2, 1, 3, 1))
    np.testing.assert_array_equal(np.concatenate(taken(load_samples(saved(tmp_path / "a.npy", array), [X]))), counting(5))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("[1:3]", 1, 3), ("[2:]", 2, 5), ("[:2]", 0, 2), ("[-2:]", 3, 5), ("[:-1]", 0, 4), ("[1:99]", 1, 5), ("[:]", 0, 5)],
)
def test_slices_count_as_python_does(tmp_path: Path, text: str, first: int, last: int) -> None:
    samples = load_samples(saved(tmp_path / "a.npy", counting(5)) + text, [X])
    assert samples.count == last - first
    np.testing.assert_array_equal(np.concatenate(taken(samples)), counting(5)[first:last])


@pytest.mark.parametrize("text", ["[5:]", "[3:3]", "[4:2]", "[:0]"])
def test_empty_slices_are_E203(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"E203 .*there are 0 samples\. Check the file and the slice"):
        load_samples(saved(tmp_path / "a.npy", counting(5)) + text, [X])


def test_a_file_with_brackets_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[0:1].npy").write_bytes(Path(saved(tmp_path / "b.npy", counting(3))).read_bytes())
    assert load_samples(str(tmp_path / "a[0:1].npy"), [X]).count == 3


# --- units


def test_floats_are_real_units(tmp_path: Path) -> None:
    array = np.array([[[0.0, 0.25, -0.26], [100.0, -100.0, 0.5]]])
    found = taken(load_samples(saved(tmp_path / "a.npy", array), [Q]))[0]
    assert found.dtype == np.int8
    assert found.tolist() == [[[3, 4, 2], [127, -128, 4]]]


def test_integers_of_the_inputs_type_are_raw(tmp_path: Path) -> None:
    array = np.array([[[-128, 0, 127], [1, 2, 3]]], np.int8)
    np.testing.assert_array_equal(taken(load_samples(saved(tmp_path / "a.npy", array), [Q]))[0], array)


@pytest.mark.parametrize(("dtype", "value"), [("uint8", Q), ("int16", Q), ("int8", X), ("uint8", X), ("int64", X)])
def test_other_integers_are_E202(tmp_path: Path, dtype: str, value: Value) -> None:
    samples = load_samples(saved(tmp_path / "a.npy", counting(2, dtype)), [value])
    with pytest.raises(DataError, match=rf"E202 a\.npy sample 0: {dtype} was given, input 'x_in' takes \w+ or real units\. Give"):
        taken(samples)


def test_plain_integer_inputs_take_what_fits(tmp_path: Path) -> None:
    tokens = Value("t", TensorType((1, 3), DType.I32))
    found = taken(load_samples(saved(tmp_path / "a.npy", np.array([[5, -1, 2**31 - 1]])), [tokens]))[0]
    assert found.dtype == np.int32
    assert found.tolist() == [[5, -1, 2**31 - 1]]
    assert taken(load_samples(saved(tmp_path / "a.npy", np.array([[5.0, 1.0, 2.0]])), [tokens]))[0].tolist() == [[5, 1, 2]]
    with pytest.raises(DataError, match=r"E202 .*elements run from 0 to 2\.14748e\+09, i32 holds -2147483648 to 2147483647"):
        taken(load_samples(saved(tmp_path / "a.npy", np.array([[0, 1, 2**31]])), [tokens]))
    with pytest.raises(DataError, match=r"E202 .*fractions were given, input 't' takes i32"):
        taken(load_samples(saved(tmp_path / "a.npy", np.array([[0, 1, 0.5]])), [tokens]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("value", [X, Q])
def test_non_finite_numbers_are_E204(tmp_path: Path, bad: float, value: Value) -> None:
    array = counting(3)
    array[1, 1, 2] = bad
    samples = load_samples(saved(tmp_path / "a.npy", array), [value])
    with pytest.raises(DataError, match=r"E204 a\.npy sample 1: 1 elements of 6 are NaN or infinite"):
        taken(samples)


def test_numbers_beyond_the_inputs_type_are_E204(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E204 .*magnitude 1e\+300 does not fit f32"):
        taken(load_samples(saved(tmp_path / "a.npy", np.full((1, 2, 3), 1e300)), [X]))


def test_wrong_shape_is_E201_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E201 a\.npy: a sample has shape \(3, 2\), input 'x_in' needs \(1, 2, 3\)\. Reshape"):
        load_samples(saved(tmp_path / "a.npy", np.zeros((4, 3, 2), np.float32)), [X])


# --- damaged and hostile files


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "harm").touch, ())

    path = tmp_path / "a.npy"
    np.save(path, np.array([Harm(), Harm()], dtype=object), allow_pickle=True)
    assert b"harm" in path.read_bytes()
    with pytest.raises(DataError, match=r"E205 a\.npy: elements of type object are not read"):
        load_samples(str(path), [X])
    path.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(DataError, match=r"E205 a\.npy: the file cannot be read"):
        load_samples(str(path), [X])
    assert not (tmp_path / "harm").exists()


def test_every_truncation_is_E205(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path / "a.npy", counting(3))).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "b.npy").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"E205 b\.npy: "):
            taken(load_samples(str(tmp_path / "b.npy"), [X]))


def test_every_truncated_or_flipped_npz_is_a_data_error_or_data(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=counting(3), y=np.arange(3))
    whole = (tmp_path / "a.npz").read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(400):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole)))] if trial % 2 else whole)
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            samples = load_samples(str(tmp_path / "b.npz"), [X])
            taken(samples)
        except DataError as fault:
            assert 201 <= fault.number <= 206


def test_every_flipped_bit_of_a_header_is_a_data_error_or_data(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path / "a.npy", counting(2))).read_bytes()
    for bit in range(0, 8 * 80, 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b.npy").write_bytes(damaged)
        try:
            taken(load_samples(str(tmp_path / "b.npy"), [X]))
        except DataError as fault:
            assert 201 <= fault.number <= 206


def test_a_header_that_promises_too_much_is_E205(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.npy", counting(3)))
    path.write_bytes(path.read_bytes().replace(b"(3, 2, 3)", b"(9, 2, 3)"))
    with pytest.raises(DataError, match=r"E205 a\.npy: shape \(9, 2, 3\) needs 216 B, 72 B follow"):
        load_samples(str(path), [X])


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((200_000, 2, 3), np.float32))
    tracemalloc.start()
    total = sum(1 for _ in load_samples(str(tmp_path / "a.npz") + "[100000:100100]", [X]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 100
    assert peak < 3_000_000, "the array has 4.8 MB"


@pytest.mark.parametrize(
    ("spec", "text"),
    [("nothing.npy", "there is no such file"), ("nothing", "there is no such file"), ("a.pth", "files named .pth are not read")],
)
def test_unknown_files_are_E205(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(DataError, match=rf"E205 {spec}: {text}\. Give a \.npy, \.npz or \.csv file"):
        load_samples(spec, [X])


# --- .npz


def test_npz_by_input_name_x_or_shape(tmp_path: Path) -> None:
    for name in ("x_in", "x", "anything"):
        np.savez(tmp_path / "a.npz", **{name: counting(3), "label_names": np.array(["a", "b"]), "y": np.array([2, 0, 1])})
        samples = load_samples(str(tmp_path / "a.npz"), [X])
        np.testing.assert_array_equal(np.concatenate(taken(samples)), counting(3))
        assert samples.labels is not None
        assert samples.labels.tolist() == [2, 0, 1]


def test_npz_slice_takes_labels_along(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=counting(5), labels=np.array([4, 3, 2, 1, 0], np.uint8))
    samples = load_samples(str(tmp_path / "a.npz") + "[1:3]", [X])
    assert samples.labels is not None
    assert samples.labels.tolist() == [3, 2]


def test_npz_of_several_inputs(tmp_path: Path) -> None:
    other = Value("mask", TensorType((1, 4), DType.I64))
    mask = np.arange(8).reshape(2, 4)
    np.savez(tmp_path / "a.npz", mask=mask, x_in=counting(2))
    samples = list(load_samples(str(tmp_path / "a.npz"), [X, other]))
    np.testing.assert_array_equal(samples[1][0], counting(2)[1:])
    np.testing.assert_array_equal(samples[1][1], mask[1:])
    np.savez(tmp_path / "a.npz", mask=mask[:1], x_in=counting(2))
    with pytest.raises(DataError, match=r"E201 a\.npz: inputs have \[1, 2\] samples"):
        load_samples(str(tmp_path / "a.npz"), [X, other])
    np.savez(tmp_path / "a.npz", x_in=counting(2))
    with pytest.raises(DataError, match=r"E201 a\.npz: no array is named 'mask'; it holds x_in \(2, 2, 3\)"):
        load_samples(str(tmp_path / "a.npz"), [X, other])


def test_npz_with_two_candidates_is_E201(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=counting(2), b=counting(2))
    with pytest.raises(DataError, match=r"E201 a\.npz: no array is named 'x_in' or 'x'; it holds a \(2, 2, 3\), b \(2, 2, 3\)"):
        load_samples(str(tmp_path / "a.npz"), [X])


@pytest.mark.parametrize("names", [("scale", "zero_point"), ("x_scale", "x_zero_point")])
def test_npz_with_scale_and_zero_point_holds_stored_values(tmp_path: Path, names: tuple[str, str]) -> None:
    stored = np.array([[[-128, 3, 127], [4, 2, 0]]], np.int8)
    np.savez(tmp_path / "a.npz", x=stored, **{names[0]: np.float32(0.25), names[1]: np.int32(3)})
    samples = load_samples(str(tmp_path / "a.npz"), [X])
    assert taken(samples)[0].tolist() == [[[-32.75, 0.0, 31.0], [0.25, -0.25, -0.75]]]
    same = Value("x_in", i8((1, 2, 3), 0.25, 3))
    np.testing.assert_array_equal(taken(samples.bind([same]))[0], stored)
    wider = Value("x_in", i8((1, 2, 3), 0.5, -1))
    assert taken(samples.bind([wider]))[0].tolist() == [[[-67, -1, 61], [0, -2, -3]]]


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_npz_with_a_bad_scale_is_E205(tmp_path: Path, scale: float) -> None:
    np.savez(tmp_path / "a.npz", x=counting(1, "int8"), scale=scale, zero_point=0)
    with pytest.raises(DataError, match=r"E205 a\.npz scale: "):
        load_samples(str(tmp_path / "a.npz"), [X])


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.array([0, 1]), r"labels have shape \(2,\) for 3 samples"),
        (np.array(["a", "b", "c"]), r"labels are <U1, numbers are needed"),
        (np.array([0, np.nan, 2]), r"a label is NaN or infinite"),
        (np.array([0, -1, 2]), r"a label is not a whole number of 0 or more"),
        (np.array([0, 0.5, 2]), r"a label is not a whole number of 0 or more"),
        (np.array([[1, 1], [0, 1], [1, 0]]), r"labels of shape \(3, 2\) are neither class numbers nor one-hot rows"),
    ],
)
def test_bad_labels_are_E206(tmp_path: Path, labels: np.ndarray, text: str) -> None:
    np.savez(tmp_path / "a.npz", x=counting(3), y=labels)
    with pytest.raises(DataError, match=rf"E206 a\.npz( y)?: {text}"):
        _ = load_samples(str(tmp_path / "a.npz"), [X]).labels


def test_labels_of_any_numbers_are_targets(tmp_path: Path) -> None:
    wanted = np.array([[0.5, -1], [2, 3], [4, 5.25]])
    np.savez(tmp_path / "a.npz", x=counting(3), y=wanted)
    found = load_samples(f"{tmp_path / 'a.npz'}[1:]", [X]).targets
    assert found is not None
    np.testing.assert_array_equal(np.stack(found), wanted[1:])


@pytest.mark.parametrize("labels", [np.eye(3)[[2, 0, 1]], np.array([[2], [0], [1]]), np.array([2.0, 0.0, 1.0])])
def test_labels_as_one_hot_rows_columns_and_floats(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=counting(3), y=labels)
    found = load_samples(str(tmp_path / "a.npz"), [X]).labels
    assert found is not None
    assert found.tolist() == [2, 0, 1]


@needs_mlperf
def test_the_spoken_words_serve_both_models() -> None:
    with np.load(MLPERF / "kws_samples.npz") as data:
        raw, scale, zero, labels = data["features_int8"], data["scale"], data["zero_point"], data["labels"]
    spec = str(MLPERF / "kws_samples.npz") + "[100:500]"
    real = load_samples(spec, [Value("input_1", f32(1, 49, 10, 1))])
    assert real.count == 400
    assert real.labels is not None
    np.testing.assert_array_equal(real.labels, labels[100:500])
    np.testing.assert_allclose(next(iter(real))[0][0], (raw[100].astype(float) - zero) * scale, rtol=1e-6)
    stored = real.bind([Value("input_1", i8((1, 49, 10, 1), float(scale), int(zero)))])
    np.testing.assert_array_equal(np.concatenate(taken(stored)), raw[100:500])
    np.testing.assert_array_equal(to_real(next(iter(stored)), stored.inputs)[0], next(iter(real))[0])


# --- CSV


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_csv_with_a_header_and_a_label_column(tmp_path: Path) -> None:
    text = "a,b,Label,c,d,e,f\n1,2,7,3,4,5,6\n\n-1,.5,0,1e2,4,5,6\n"
    samples = load_samples(written(tmp_path / "a.csv", text), [X])
    assert samples.count == 2
    assert np.concatenate(taken(samples)).tolist() == [[[1, 2, 3], [4, 5, 6]], [[-1, 0.5, 100], [4, 5, 6]]]
    assert samples.labels is not None
    assert samples.labels.tolist() == [7, 0]
    assert load_samples(str(tmp_path / "a.csv") + "[1:]", [X]).count == 1


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_without_a_header(tmp_path: Path, mark: str) -> None:
    samples = load_samples(written(tmp_path / "a.csv", "\ufeff" + mark.join("123456") + "\n" + mark.join("654321")), [X])
    assert np.concatenate(taken(samples)).tolist() == [[[1, 2, 3], [4, 5, 6]], [[6, 5, 4], [3, 2, 1]]]
    assert samples.labels is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1,2,3,4,5\n", r"E201 a\.csv: it has 5 columns of features, input 'x_in' takes 6"),
        ("1,2,3,4,5,6\n1,2,3\n", r"E205 a\.csv line 2: it has 3 columns, the first line has 6"),
        ("1,2,3,4,5,6\n1,2,3,4,5,six\n", r"E205 a\.csv line 2: a cell is not a number"),
        ("1,2,3,4,5,nan\n", r"E204 a\.csv sample 0: 1 elements of 6"),
        ("", r"E203 a\.csv: there are 0 samples"),
        ("a,b,c,d,e,f\n", r"E203 .*a\.csv: there are 0 samples"),
    ],
)
def test_bad_csv_is_a_coded_error(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        taken(load_samples(written(tmp_path / "a.csv", text), [X]))


def test_csv_labels_that_are_no_classes_are_targets(tmp_path: Path) -> None:
    samples = load_samples(written(tmp_path / "a.csv", "a,b,c,d,e,f,y\n1,2,3,4,5,6,1.5\n"), [X])
    assert samples.targets is not None
    assert [float(target) for target in samples.targets] == [1.5]
    with pytest.raises(DataError, match=r"E206 a\.csv: a label is not a whole number"):
        _ = samples.labels


def test_csv_that_is_no_text_is_E205(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match=r"E205 a\.csv: "):
        load_samples(str(tmp_path / "a.csv"), [X])


# --- module:function

MODULE = """
import numpy as np
def arrays():
    for i in range(3):
        yield np.full((2, 3), i, np.float32)
def labelled():
    return [(np.full((1, 2, 3), i), i % 2) for i in range(3, 5)]
def named():
    yield {"x_in": [[1, 2, 3], [4, 5, 6.0]], "y": 5}
def whole():
    return np.zeros((7, 2, 3))
def fails():
    yield np.zeros((2, 3))
    raise RuntimeError("no more")
def nothing():
    return iter(())
def number():
    return 3
def text():
    yield "word"
value = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "samples_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield name
    sys.modules.pop(name, None)


def test_functions_yield_arrays_tuples_or_dicts(module: str) -> None:
    assert [int(a[0, 0, 0]) for a in taken(load_samples(f"{module}:arrays", [X]))] == [0, 1, 2]
    labelled = load_samples(f"{module}:labelled", [X])
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"E202 .*int64 was given"):
        taken(labelled)


def test_all_samples_are_taken_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that draws other samples every time gives the same ones stored, in real units, and their labels."""
    text = "import numpy as np\ncalls = []\ndef draw():\n    calls.append(1)\n    rng = np.random.default_rng(len(calls))\n"
    text += "    for _ in range(4):\n        x = rng.random((2, 3))\n        yield x, int(x[0, 0] * 10)\n"
    (tmp_path / "drawing.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    value = Value("x", i8((2, 3), 1 / 255, -128))
    taken_at_once = load_samples("drawing:draw", [value]).take()
    assert len(sys.modules.pop("drawing").calls) == 1
    assert np.abs(taken_at_once.real[0] - (taken_at_once.stored[0].astype(int) + 128) / 255).max() < 0.6 / 255
    assert taken_at_once.labels is not None
    assert taken_at_once.labels.tolist() == (taken_at_once.real[0][:, 0, 0] * 10).astype(int).tolist()


def test_functions_give_names_and_slices(module: str) -> None:
    named = load_samples(f"{module}:named", [X])
    assert taken(named)[0].tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert named.labels is not None
    assert named.labels.tolist() == [5]
    assert load_samples(f"{module}:arrays[1:]", [X]).count == 2
    assert load_samples(f"{module}:whole", [X]).count == 7
    assert str(Path.cwd()) not in sys.path


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("fails", r"E205 \w+:fails: it raised RuntimeError: no more\. Run the function alone"),
        ("nothing", r"E203 \w+:nothing: there are 0 samples"),
        ("number", r"E205 \w+:number: it returned int"),
        ("text", r"E202 \w+:text sample 0: <U4 was given"),
        ("value", r"E205 \w+:value: '\w+' has no function 'value'"),
        ("absent", r"E205 \w+:absent: '\w+' has no function 'absent'"),
    ],
)
def test_functions_that_fail_are_coded_errors(module: str, function: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        taken(load_samples(f"{module}:{function}", [X]))


def test_a_module_that_is_not_there_is_E205() -> None:
    with pytest.raises(
        DataError, match=r"E205 no_such_module_here:f: importing 'no_such_module_here' raised ModuleNotFoundError"
    ):
        load_samples("no_such_module_here:f", [X])


# --- images

IMAGE = Value("image", f32(1, 2, 3, 3))


def test_images_without_pillow_are_E404(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match=r"E404 .*images need pillow, which is not installed\. pip install pillow"):
        load_samples(str(tmp_path), [IMAGE])


def test_images_of_a_folder(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 15
    pillow.fromarray(pixels).save(tmp_path / "b.png")
    pillow.fromarray(np.full((8, 12, 3), 51, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    samples = load_samples(str(tmp_path), [IMAGE])
    assert samples.count == 2
    assert samples.labels is None
    first, second = taken(samples)
    np.testing.assert_allclose(first, np.full((1, 2, 3, 3), 0.2), atol=1e-6)
    np.testing.assert_allclose(second[0], pixels / 255.0, atol=1e-6)
    signed = load_samples(str(tmp_path), [IMAGE], pixel_range=(-1.0, 1.0))
    np.testing.assert_allclose(taken(signed)[1][0], pixels / 127.5 - 1.0, atol=1e-6)


def test_images_in_subfolders_have_classes(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        pillow.new("L", (3, 2), 255 if name == "dog" else 0).save(tmp_path / name / "1.png")
    samples = load_samples(str(tmp_path), [IMAGE])
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1]
    assert [float(a.max()) for a in taken(samples)] == [0.0, 1.0]


def test_bad_images_are_coded_errors(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image", reason="pillow is not installed")
    with pytest.raises(DataError, match=r"E203 .*there are 0 images"):
        load_samples(str(tmp_path), [IMAGE])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n0000")
    with pytest.raises(DataError, match=r"E205 a\.png: the image cannot be read"):
        taken(load_samples(str(tmp_path), [IMAGE]))
    with pytest.raises(DataError, match=r"E201 .*are not one image"):
        load_samples(str(tmp_path), [X])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f32(1, 2, 2, 3), (0.0, 1.0)),
        (i8((1, 2, 2, 3), 1 / 255, -128), (0.0, 1.0)),
        (i8((1, 2, 2, 3), 1 / 127.5, -1), (-1.0, 1.0)),
        (i8((1, 2, 2, 3), 1.0, -128), (0.0, 255.0)),
        (TensorType((1, 2, 2, 3), DType.U8), (0.0, 255.0)),
    ],
)
def test_pixel_range_follows_a_quantized_input(value: TensorType, expected: tuple[float, float]) -> None:
    assert default_pixel_range(Value("image", value)) == expected


def test_zip_members_that_are_no_arrays_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=counting(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("../../evil.txt", "text")
    assert load_samples(str(tmp_path / "a.npz"), [X]).count == 2
