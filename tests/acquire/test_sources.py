"""Files of sources: each fault is said by file and key; recipes name files of sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from toolchain.acquire.acquire import acquire
from toolchain.acquire.sources import load_sources
from toolchain.errors import DataError
from toolchain.training.recipes.data import load_data, located
from toolchain.training.recipes.recipe import load_recipe

ROOT = Path(__file__).parents[2]
ONE = '[[source]]\nname = "set"\nurl = "https://127.0.0.1/a.npz"\nlicence = "cc-by-4.0"\nsha256 = "' + "0" * 64 + '"\n'


def test_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pa55\n")
    text = f'folder = "there"\n{ONE}max_bytes = 5\n[source.options]\nusername = "u"\npassword_file = "secret"\n'
    (tmp_path / "s.toml").write_text(text)
    listed = load_sources(tmp_path / "s.toml")
    (source,) = listed.sources
    assert (listed.folder, source.licence, source.max_bytes) == (tmp_path / "there", "CC-BY-4.0", 5)
    assert source.options == {"username": "u", "password": "pa55"} and "pa55" not in repr(listed)
    assert listed.path("@set[0:5]") == f"{tmp_path}/there/set/a.npz[0:5]"
    assert listed.path("@set/b.npz[0:5]") == f"{tmp_path}/there/set/b.npz[0:5]" and listed.path("@other") is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "set"', 'name = "../set"', "E211 s.toml: key 'source[0].name' has the name '../set'"),
        ('name = "set"', 'nam = "set"', "E211 s.toml: key 'source[0].nam' is unknown. Did you mean 'name'"),
        ('licence = "cc-by-4.0"', "", "E211 s.toml: key 'source[0].licence' is missing"),
        ('"cc-by-4.0"', '"free"', "E211 s.toml: key 'source[0].licence' is 'free', which is no SPDX expression"),
        ("sha256 = ", "# ", "E211 s.toml: key 'source[0].sha256' or sha256_file must be there"),
        ('sha256 = "0', 'sha256 = "g', "E211 s.toml: key 'source[0].sha256' is 'g000"),
        ("sha256 = ", 'sha256_file = "sums" #', "E205 "),
        ("sha256 = ", 'sha256_file = "bad" #', "E211 s.toml: key 'source[0].sha256_file' names 'bad', whose line 2 is no digest"),
        (
            "sha256 = ",
            'sha256_file = "up" #',
            "E211 s.toml: key 'source[0].sha256_file' names 'up', whose line 1 has a name that",
        ),
        ("a.npz", "a|b", "E211 s.toml: key 'source[0].url' ends in 'a|b', which is no name"),
        ("https://127.0.0.1/a.npz", "s3://b/*.npz", "E211 s.toml: key 'source[0].url' names many files"),
        ("a.npz", "", "E211 s.toml: key 'source[0].url' names many files"),
        ("127.0.0.1", "u:p@127.0.0.1", "E211 s.toml: key 'source[0].url' holds credentials"),
        ("https://", "simplecache::https://", "E211 s.toml: key 'source[0].url' is a chain of stores"),
        ("https://127.0.0.1", "https://[", "E211 s.toml: key 'source[0].url' is no URL"),
        ("licence", 'unpack = "rar"\nlicence', "E211 s.toml: key 'source[0].unpack' is 'rar'. Use one of: zip, tar"),
        ("licence", "timeout_s = 0\nlicence", "E211 s.toml: key 'source[0].timeout_s' is 0"),
        ("licence", 'options = {token = "t"}\nlicence', "E211 s.toml: key 'source[0].options.token' is a secret"),
        ("licence", 'options = {secret = "t"}\nlicence', "E211 s.toml: key 'source[0].options.secret' is a secret"),
        (
            "licence",
            'options = {c = {aws_secret = "t"}}\nlicence',
            "E211 s.toml: key 'source[0].options.c.aws_secret' is a secret",
        ),
        ("licence", 'options = {key_file = "none"}\nlicence', "E211 s.toml: key 'source[0].options.key_file' names 'none'"),
        ("[[source]]", ONE + "[[source]]", "E211 s.toml: key 'source[1].name' repeats 'set'"),
        ("[[source]]", 'folder = "\\u0000"\n[[source]]', "E211 s.toml: key 'folder' is no path"),
        ("https://127.0.0.1/a.npz", "a\\u0000b", "E211 s.toml: key 'source[0].url' is a chain of stores, or holds control"),
        ("[[source]]", "[source]", "E211 s.toml: key 'source' must be an array of tables"),
        ("[[source]]", "[[source", "E211 s.toml: it is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    (tmp_path / "bad").write_text(f"{'0' * 64}  a.npz\nzero  b.npz\n")
    (tmp_path / "up").write_text(f"{'0' * 64}  ../a.npz\n")
    assert ONE.count(old) == 1
    (tmp_path / "s.toml").write_text(ONE.replace(old, new))
    with pytest.raises(DataError) as caught:
        load_sources(tmp_path / "s.toml")
    assert str(caught.value).startswith(fault)


def test_files_of_digests_and_patterns(tmp_path: Path) -> None:
    names = ("a.npz", "b.npz", "deep/c.npz", "d.csv")
    (tmp_path / "sums").write_text("# ours\n\n" + "".join(f"{'0' * 63}{n} *./{name}\n" for n, name in enumerate(names)))
    text = ONE.replace("sha256 = ", 'sha256_file = "sums" #').replace("https://127.0.0.1/a.npz", "s3://b/pre/{}")
    for pattern, wanted in (("", names), ("*.npz", names[:2]), ("**.npz", names[:3])):
        (tmp_path / "s.toml").write_text(text.format(pattern))
        (source,) = load_sources(tmp_path / "s.toml").sources
        assert [item.url for item in source.items] == [f"s3://b/pre/{name}" for name in sorted(wanted)]
    (tmp_path / "s.toml").write_text(text.format("*.png"))
    with pytest.raises(DataError, match=r"names 'sums', which has no file of '\*.png'"):
        load_sources(tmp_path / "s.toml")


RECIPE = """
name = "net"
[data]
train = "@digits[0:40]"
test = "@sums/test.npz[0:10]"
input = "image"
layout = "channels_first"
sources = "s.toml"
[network]
kind = "mlp"
"""


def sources(folder: Path) -> None:
    digits = ROOT / "examples" / "digits"
    digests = {name: hashlib.sha256((digits / name).read_bytes()).hexdigest() for name in ("train.npz", "test.npz")}
    (folder / "sums").write_text("".join(f"{sha256}  {name}\n" for name, sha256 in digests.items()))
    (folder / "s.toml").write_text(
        f'[[source]]\nname = "digits"\nurl = "{digits}/train.npz"\nlicence = "CC-BY-4.0"\nsha256 = "{digests["train.npz"]}"\n'
        f'[[source]]\nname = "sums"\nurl = "{digits}/"\nlicence = "CC-BY-4.0"\nsha256_file = "sums"\n'
    )


def test_a_recipe_reads_files_of_its_sources(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    sources(tmp_path)
    (tmp_path / "r.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.toml")
    assert recipe.data.sources is not None
    data = load_data(recipe)
    with np.load(ROOT / "examples" / "digits" / "test.npz") as stored:
        assert len(data.test.x) == 10 and np.array_equal(data.test.labels, stored["y"][:10])
    assert (tmp_path / "data" / "digits" / "train.npz").is_file()
    assert located("@digits[0:40]", recipe) == f"{tmp_path}/data/digits/train.npz[0:40]"
    digest = recipe.digest
    (tmp_path / "s.toml").write_text((tmp_path / "s.toml").read_text().replace("CC-BY-4.0", "MIT"))
    assert load_recipe(tmp_path / "r.toml").digest == digest
    other = hashlib.sha256(b"").hexdigest()
    (tmp_path / "s.toml").write_text((tmp_path / "s.toml").read_text().replace(recipe.data.sources.sources[0].sha256, other))
    assert load_recipe(tmp_path / "r.toml").digest != digest


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("@digits", "@digit", "E208 r.toml: key 'data.train' is '@digit[0:40]', which no source brings"),
        ("@sums", "@sum", "E208 r.toml: key 'data.test' is '@sum/test.npz[0:10]', which no source brings"),
        ('sources = "s.toml"', "", "E208 r.toml: key 'data.train' is '@digits[0:40]', which no source brings"),
        ('sources = "s.toml"', 'sources = "none.toml"', "E205 "),
    ],
)
def test_a_recipe_that_names_no_source_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    sources(tmp_path)
    (tmp_path / "r.toml").write_text(RECIPE.replace(old, new))
    with pytest.raises(DataError) as caught:
        load_recipe(tmp_path / "r.toml")
    assert str(caught.value).startswith(fault)


def test_the_example(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    found = acquire(load_sources(ROOT / "examples" / "recipes" / "sources.toml"), tmp_path)
    assert [(one.name, one.files) for one in found] == [("digits", 1), ("splits", 3)]
