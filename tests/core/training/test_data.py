"""Data that open: what is read, how it is split, and what is said about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import DataError
from core.networks.arch import parse_arch
from core.networks.zoo import build
from core.training import cache, image_sets
from core.training.data import Data, check_fits, open_data
from core.training.image_paths import layout
from core.training.splits import stratified
from tests import bad_data


@pytest.fixture(autouse=True)
def cache_here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(place))
    return place


def equals(data: Data, which: str, wanted: list[bytes], labels: list[int]) -> bool:
    """Whether a whole split holds these encoded pictures and labels, in this order."""
    x, y = data.split(which)  # type: ignore[arg-type]
    pixels = torch.tensor(np.stack([bad_data.pixels(content) for content in wanted]), dtype=torch.float32) / 255
    return torch.equal(x, pixels) and y.tolist() == labels


# digits and splits


def test_digits_are_scikit_learns_with_a_fixed_stratified_split() -> None:
    from sklearn.datasets import load_digits

    bunch, data = load_digits(), open_data("digits")
    assert (data.size("train"), data.size("test"), data.input_shape) == (1297, 500, (1, 8, 8))
    every = [data.split("train"), data.split("test")]
    x = torch.cat([part[0] for part in every])
    y = torch.cat([part[1] for part in every])
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    order = np.concatenate([data.rows["train"], data.rows["test"]])
    assert sorted(order.tolist()) == list(range(1797))
    assert np.array_equal(x.numpy()[:, 0] * 16, bunch.images[order]) and np.array_equal(y.numpy(), bunch.target[order])
    shares = np.bincount(every[1][1]) - np.bincount(bunch.target) * 500 / 1797
    assert np.abs(shares).max() < 1
    assert data.rows["test"][:8].tolist() == [3, 5, 7, 13, 16, 19, 22, 26]  # stored accuracies depend on it


@pytest.mark.parametrize("num_test", [1, 7, 50, 99])
def test_stratified_rows_are_a_partition_in_proportion(num_test: int) -> None:
    labels = np.repeat([0, 1, 5], [10, 30, 60])
    train, test = stratified(labels, num_test, seed=3)
    assert len(test) == num_test and sorted([*train, *test]) == list(range(100))
    counts = np.bincount(labels[test], minlength=6)[[0, 1, 5]]
    assert np.all(np.abs(counts - np.array([10, 30, 60]) * num_test / 100) < 1)
    assert np.array_equal(stratified(labels, num_test, seed=3)[1], test)


def test_a_limit_takes_a_seeded_part_that_grows_with_it() -> None:
    data = open_data("digits")
    small, large = data.split("test", 20, seed=4), data.split("test", 50, seed=4)
    assert torch.equal(small[0], large[0][:20]) and torch.equal(small[1], large[1][:20])
    assert not torch.equal(small[0], data.split("test", 20, seed=5)[0])
    assert torch.equal(small[0], open_data("digits").split("test", 20, seed=4)[0])
    whole = data.split("test")
    for limit in (500, 501, 10_000):
        assert torch.equal(data.split("test", limit, seed=9)[0], whole[0])


def test_a_split_cannot_be_changed_through_what_it_returned() -> None:
    data = open_data("digits")
    data.split("test")[0].zero_()
    assert data.split("test")[0].abs().sum() > 0


@pytest.mark.parametrize(("which", "limit"), [("validation", None), ("test", 0), ("test", -3)])
def test_a_wrong_split_or_limit_is_a_programmers_error(which: str, limit: int | None) -> None:
    with pytest.raises(ValueError, match="split is train or test"):
        open_data("digits").split(which, limit)  # type: ignore[arg-type]


# arrays


@pytest.mark.parametrize(("axes", "shape"), [("NHW", (1, 5, 6)), ("NCHW", (3, 5, 6)), ("NHWC", (3, 5, 6))])
def test_npz_layouts(tmp_path: Path, axes: str, shape: tuple[int, int, int]) -> None:
    x = np.random.RandomState(0).randint(0, 256, (20, *shape)).astype(np.uint8)
    stored = {"NHW": x[:, 0], "NCHW": x, "NHWC": x.transpose(0, 2, 3, 1)}[axes]
    y = np.arange(20) % 4
    data = open_data(bad_data.npz(tmp_path, x=stored, y=y, x_test=stored[:5], y_test=y[:5]))
    assert data.input_shape == shape and data.classes == ("0", "1", "2", "3")
    got, labels = data.split("train")
    assert torch.equal(got, torch.tensor(x, dtype=torch.float32) / 255) and labels.tolist() == y.tolist()
    assert torch.equal(data.split("test")[0], got[:5]) and data.notes == ()


def test_npz_without_test_arrays_sets_a_fifth_aside_and_says_so(tmp_path: Path) -> None:
    data = open_data(bad_data.npz(tmp_path, x=np.zeros((50, 4, 4), dtype=np.uint8), y=np.repeat([0, 1], 25)))
    assert (data.size("train"), data.size("test")) == (40, 10)
    assert np.bincount(data.split("test")[1]).tolist() == [5, 5]
    assert "a fifth of each class was set aside" in data.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_npz_values_come_out_between_0_and_1(tmp_path: Path, dtype: type) -> None:
    levels = np.arange(256, dtype=np.float64).reshape(1, 16, 16)
    stored = np.repeat(levels, 4, axis=0).astype(dtype)
    y = np.zeros(4)
    x, _ = open_data(bad_data.npz(tmp_path, x=stored, y=y, x_test=stored, y_test=y)).split("train")
    assert torch.allclose(x[0], torch.tensor(levels / 255, dtype=torch.float32), atol=1e-7)
    if dtype in (np.float32, np.float64):
        data = open_data(bad_data.npz(tmp_path, x=stored / 255, y=y, x_test=stored / 255, y_test=y))
        assert torch.allclose(data.split("train")[0], x, atol=1e-7) and data.notes == ()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_npz_of_black_and_white(tmp_path: Path, dtype: type) -> None:
    stored = (np.arange(40).reshape(10, 2, 2) % 3 == 0).astype(dtype)
    data = open_data(bad_data.npz(tmp_path, x=stored, y=np.arange(10) % 2))
    assert np.array_equal(data.read(np.arange(10))[:, 0], stored) and "black and white" in data.notes[0]


def test_npz_in_keras_names_rows_of_values_and_class_names(tmp_path: Path) -> None:
    x, y = np.random.RandomState(0).rand(10, 64), np.arange(10).reshape(10, 1) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4], "classes": np.array(["cat", "dog"])}
    data = open_data(bad_data.npz(tmp_path, **arrays))
    assert data.input_shape == (1, 8, 8) and data.classes == ("cat", "dog")
    assert np.allclose(data.split("train")[0].numpy().reshape(10, 64), x) and "rows of 64 values" in data.notes[0]


def test_idx_files(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    x, y = random.randint(0, 256, (9, 4, 5)).astype(np.uint8), random.randint(0, 7, 9).astype(np.uint8)
    folder = bad_data.idx(tmp_path, x[:6], y[:6])
    with pytest.raises(DataError, match="idx has no test images; open"):
        open_data(folder).split("test")
    bad_data.idx(tmp_path, x[6:], y[6:], ("t10k-images", "t10k-labels"))
    data = open_data(folder)
    assert data.input_shape == (1, 4, 5) and (data.size("train"), data.size("test")) == (6, 3)
    assert np.array_equal(data.split("test")[0].numpy()[:, 0] * 255, x[6:].astype(np.float32))
    assert data.split("test")[1].tolist() == y[6:].tolist()


# images in folders and tars

ORDER = [f"{label}/{i}.png" for label in ("cat", "dog", "elk") for i in range(3)]


@pytest.mark.parametrize("name", ["folder", "set.tar", "set.tar.gz", "set.tar.xz", "set.tar.bz2"])
def test_class_folders_with_splits(tmp_path: Path, name: str) -> None:
    files = bad_data.images()
    make = bad_data.folder if name == "folder" else lambda place, files: bad_data.tar(place, files, name)
    data = open_data(make(tmp_path, files))
    assert data.classes == ("cat", "dog", "elk") and data.input_shape == (3, 5, 6) and data.notes == ()
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for which in ("train", "test"):
        assert equals(data, which, [files[f"{which}/{path}"] for path in ORDER], labels)


@pytest.mark.parametrize("wrapper", ["", "./", "archive/", "a/b/"])
def test_wrapping_folders_do_not_matter(tmp_path: Path, wrapper: str) -> None:
    files = bad_data.images()
    data = open_data(bad_data.tar(tmp_path, {wrapper + path: content for path, content in files.items()}))
    assert equals(data, "test", [files[f"test/{path}"] for path in ORDER], [0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_class_folders_without_splits_set_a_fifth_aside(tmp_path: Path) -> None:
    files = bad_data.images(splits=("",), per_class=10)
    data = open_data(bad_data.folder(tmp_path, files))
    assert (data.size("train"), data.size("test")) == (24, 6)
    assert data.split("test")[1].tolist() == [0, 0, 1, 1, 2, 2]
    assert "a fifth of each class was set aside" in data.notes[0]
    (tmp_path / "as-tar").mkdir()
    assert np.array_equal(open_data(bad_data.tar(tmp_path / "as-tar", files)).rows["test"], data.rows["test"])


def test_grey_pictures_have_one_channel_and_alpha_is_dropped(tmp_path: Path) -> None:
    grey = bad_data.images(splits=("train", "test"), mode="L")
    data = open_data(bad_data.folder(tmp_path, grey))
    assert data.input_shape == (1, 5, 6)
    assert equals(data, "train", [grey[f"train/{path}"] for path in ORDER], [0, 0, 0, 1, 1, 1, 2, 2, 2])
    clear = bad_data.image(0, mode="RGBA")
    assert np.array_equal(image_sets.decode(clear, "clear"), bad_data.pixels(clear)[:3])
    grey_in_colour = image_sets.decode(bad_data.image(0, mode="L"), "grey", (3, 5, 6))
    assert np.array_equal(grey_in_colour, np.repeat(bad_data.pixels(bad_data.image(0, mode="L")), 3, axis=0))


def test_layout_names() -> None:
    paths = ["valid/a/1.png", "train/a/1.png", "train/b/x/2.JPG", "test/b/3.jpeg", "train/notes.txt", "logo.png"]
    found = layout(paths, "set")
    assert found.paths == ("train/a/1.png", "train/b/x/2.JPG", "test/b/3.jpeg")
    assert (found.classes, found.labels.tolist()) == (("a", "b"), [0, 1, 1])
    assert (found.train.tolist(), found.test.tolist(), found.places.tolist()) == ([0, 1], [2], [1, 2, 3])
    assert found.notes == ("2 images outside the folders used were ignored",)
    numbers = [f"{split}/{i}/{j}.png" for split in ("train", "val") for i in range(11) for j in range(2)]
    assert layout(numbers, "set").classes == tuple(str(i) for i in range(11))
    assert layout(["cat/1.png", "cat/2.png"], "set").classes == ("cat",)
    only_test = layout(["test/a/1.png", "test/b/1.png"], "set")
    assert (len(only_test.train), len(only_test.test)) == (0, 2)


def test_only_the_chosen_images_are_decoded(tmp_path: Path) -> None:
    files = bad_data.images(per_class=10)
    broken = {path: (b"\x89PNG broken" if path == "train/dog/7.png" else content) for path, content in files.items()}
    for n, data in enumerate((open_data(bad_data.folder(tmp_path, broken)), open_data(bad_data.tar(tmp_path, broken)))):
        assert len(data.split("test")[0]) == 30
        held = [seed for seed in range(40) if 17 not in np.random.RandomState(seed).permutation(30)[:5]]
        assert len(data.split("train", 5, held[n])[0]) == 5
        with pytest.raises(DataError, match=r"The image dog/7\.png cannot be decoded; remove it"):
            data.split("train")


def test_pictures_of_different_sizes_are_reported(tmp_path: Path) -> None:
    files = {**bad_data.images(), "train/elk/9.png": bad_data.image(3, size=(7, 7))}
    with pytest.raises(DataError, match="make all images alike"):
        open_data(bad_data.tar(tmp_path, files)).split("train")


def test_colour_among_grey_pictures_is_reported(tmp_path: Path) -> None:
    files = {**bad_data.images(mode="L"), "train/elk/9.png": bad_data.image(3)}
    with pytest.raises(DataError, match="make all images alike"):
        open_data(bad_data.folder(tmp_path, files)).split("train")


def test_hidden_files_are_ignored_and_links_passed_over(tmp_path: Path) -> None:
    files = {**bad_data.images(), "train/cat/._0.png": b"x", "__MACOSX/train/cat/0.png": b"x", ".cache/a/b.png": b"x"}
    assert open_data(bad_data.tar(tmp_path, files)).size("train") == 9
    folder = bad_data.folder(tmp_path, files)
    (folder / "train" / "cat" / "link.png").symlink_to(folder / "train" / "dog" / "0.png")
    (folder / "train" / "linked").symlink_to(folder / "train" / "dog")
    data = open_data(folder)
    assert data.size("train") == 9 and data.notes == ("1 links were passed over",)


# the cache


def test_a_tar_is_streamed_once_and_then_comes_from_the_cache(
    tmp_path: Path, cache_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = bad_data.images()
    path = bad_data.tar(tmp_path, files)
    first = open_data(path)
    monkeypatch.setattr(image_sets.tars, "images", lambda *_: pytest.fail("streamed again"))
    again = open_data(path)
    assert again == first and again.ref == first.ref
    for which in ("train", "test"):
        assert torch.equal(again.split(which)[0], first.split(which)[0])  # type: ignore[arg-type]
    assert sorted(p.name for p in (cache_here / "images").iterdir()) == [first.ref.digest]


def test_the_cache_goes_by_content_not_by_name(tmp_path: Path) -> None:
    one = open_data(bad_data.tar(tmp_path, bad_data.images()))
    other = open_data(bad_data.tar(tmp_path, bad_data.images(mode="L")))
    assert one.ref.digest != other.ref.digest and other.input_shape == (1, 5, 6)


@pytest.mark.parametrize("source", ["folder", "tar"])
def test_large_selections_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(image_sets, "WORTH_CACHING", 5)
    files = bad_data.images()
    path = (bad_data.folder if source == "folder" else bad_data.tar)(tmp_path, files)
    data = open_data(path)
    first = data.split("test")[0], data.split("train", 6, 1)[0]
    small = data.split("train", 3)[0]
    monkeypatch.setattr(image_sets, "decode", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(data.split("test")[0], first[0]) and torch.equal(data.split("train", 6, 1)[0], first[1])
    monkeypatch.undo()
    assert len(small) == 3


def test_a_changed_folder_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sets, "WORTH_CACHING", 1)
    folder = bad_data.folder(tmp_path, bad_data.images())
    first = open_data(folder)
    before = first.split("test")[0]
    (folder / "test" / "cat" / "0.png").write_bytes(bad_data.image(99))
    os.utime(folder / "test" / "cat" / "0.png", ns=(1, 1))
    again = open_data(folder)
    assert again.ref.digest != first.ref.digest and not torch.equal(again.split("test")[0], before)


def test_a_tar_too_large_for_the_cache_is_streamed_for_each_selection(
    tmp_path: Path, cache_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = bad_data.images()
    packed = open_data(bad_data.tar(tmp_path, files))
    wanted = [packed.split("train", 4, seed) for seed in range(5)]
    monkeypatch.setattr(cache, "LARGEST_ENTRY", 100)
    monkeypatch.setenv("RANKSCOPE_CACHE", str(cache_here / "other"))
    data = open_data(bad_data.tar(tmp_path, files))
    for seed in range(5):
        x, y = data.split("train", 4, seed)
        assert torch.equal(x, wanted[seed][0]) and torch.equal(y, wanted[seed][1])
    assert equals(data, "test", [files[f"test/{path}"] for path in ORDER], [0, 0, 0, 1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("damage", ["names.json", "packed.npy", "ends.npy"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache_here: Path, damage: str) -> None:
    path = bad_data.tar(tmp_path, bad_data.images())
    first = open_data(path)
    (cache_here / "images" / first.ref.digest / damage).write_bytes(b"\x93NUMPY")
    assert torch.equal(open_data(path).split("test")[0], first.split("test")[0])


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "file"))
    assert open_data(bad_data.tar(tmp_path, bad_data.images())).size("train") == 9


def test_the_cache_forgets_what_was_used_longest_ago(cache_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST_TOTAL", 2500)
    for i, key in enumerate("abc"):
        cache.put(key, [key], {"images": np.zeros(1000, dtype=np.uint8)})
        os.utime(cache_here / "images" / key, (i, i))
    assert sorted(p.name for p in (cache_here / "images").iterdir()) == ["b", "c"]
    assert cache.get("a") is None
    names, arrays = cache.get("b") or ([], {})
    assert names == ["b"] and arrays["images"].shape == (1000,)


# fitting a model


def test_what_fits(tmp_path: Path) -> None:
    digits = open_data("digits")
    check_fits(digits, parse_arch("mlp:64-10"))
    check_fits(digits, parse_arch("mlp:64-20"))  # numbered classes may be fewer
    check_fits(digits, parse_arch("autoencoder:64-8"))
    named = open_data(bad_data.folder(tmp_path, bad_data.images(size=(32, 32))))
    check_fits(named, parse_arch("convnet:3-4-3"))
    np.savez(tmp_path / "row.npz", x=np.zeros((6, 4, 10)), y=np.arange(6) % 2)
    check_fits(open_data(tmp_path / "row.npz"), parse_arch("mlp:40-2"))  # 40 numbers are no square image


@pytest.mark.parametrize(
    ("arch", "size"),
    [("convnet:1-4-10", 16), ("resnet8:channels=1,width=4", 16), ("resnet18:channels=1,width=4,size=8", 16)],
)
def test_images_of_another_size_are_refused_although_they_run(tmp_path: Path, arch: str, size: int) -> None:
    """A network with a mean over positions takes any size and answers something."""
    from tests.bad_files import assert_one_sentence

    x = torch.zeros(20, size, size)
    np.savez(tmp_path / "large.npz", x=x, y=np.arange(20) % 10)
    data, made = open_data(tmp_path / "large.npz"), parse_arch(arch)
    assert build(made).eval()(x[:2, None].float()).shape == (2, 10)
    with pytest.raises(DataError) as caught:
        check_fits(data, made)
    assert "large.npz" in str(caught.value) and made.label in str(caught.value)
    assert f"(1, {size}, {size})" in str(caught.value) and "(1, 8, 8)" in str(caught.value)
    assert_one_sentence(str(caught.value), tmp_path)
    assert f"size={size}" in str(caught.value)
    sized = arch.replace(",size=8", "") + ("," if ":" in arch else ":") + f"size={size}"
    check_fits(data, parse_arch(sized))


def test_a_perceptron_wants_its_image_and_not_only_as_many_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "long.npz", x=np.zeros((6, 4, 16)), y=np.arange(6) % 2)
    with pytest.raises(DataError, match=r"\(1, 4, 16\), MLP 64-2 takes \(1, 8, 8\)"):
        check_fits(open_data(tmp_path / "long.npz"), parse_arch("mlp:64-2"))


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("mlp:63-10", "have shape (1, 8, 8), MLP 63-10 takes"),
        ("resnet20", "have shape (1, 8, 8), ResNet-20 takes (3, 32, 32)"),
        ("mlp:64-9", "has 10 classes, MLP 64-9 tells 9 apart"),
    ],
)
def test_what_does_not_fit_is_reported(tmp_path: Path, arch: str, says: str) -> None:
    from tests.bad_files import assert_one_sentence

    with pytest.raises(DataError) as caught:
        check_fits(open_data("digits"), parse_arch(arch))
    assert says in str(caught.value)
    assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("names", [("cat", "dog", "elk"), ("0", "1", "2")])
@pytest.mark.parametrize("pack", [bad_data.folder, bad_data.tar])
def test_named_classes_must_be_as_many_as_outputs(
    tmp_path: Path, names: tuple[str, ...], pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    """Folders called 0, 1, 2 name their classes as well as others do."""
    renamed = dict(zip(("cat", "dog", "elk"), names, strict=True))
    images = {}
    for path, content in bad_data.images(size=(32, 32)).items():
        split, label, file = path.split("/")
        images[f"{split}/{renamed[label]}/{file}"] = content
    data = open_data(pack(tmp_path, images))
    check_fits(data, parse_arch("convnet:3-4-3"))
    with pytest.raises(DataError, match="has 3 classes, ConvNet 4 tells 4 apart"):
        check_fits(data, parse_arch("convnet:3-4-4"))


def test_arrays_may_lack_the_last_classes_unless_they_name_them(tmp_path: Path) -> None:
    arrays = {"x": np.zeros((6, 8, 8)), "y": np.arange(6) % 2}
    np.savez(tmp_path / "few.npz", **arrays)
    np.savez(tmp_path / "named.npz", **arrays, classes=np.array(["0", "1"]))
    check_fits(open_data(tmp_path / "few.npz"), parse_arch("mlp:64-10"))
    with pytest.raises(DataError, match="has 2 classes"):
        check_fits(open_data(tmp_path / "named.npz"), parse_arch("mlp:64-10"))


# the shared sets


@pytest.mark.needs_shared
def test_mnist_opens(shared: Path) -> None:
    data = open_data(shared / "data" / "mnist")
    assert (data.size("train"), data.size("test"), data.input_shape) == (60_000, 10_000, (1, 28, 28))
    assert data.split("test", 10)[0].shape == (10, 1, 28, 28)
    assert data.split("test")[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # the well-known first ten


@pytest.mark.needs_shared
@pytest.mark.parametrize(("limit", "spread"), [(1000, 0.037), pytest.param(None, 0.0005, marks=pytest.mark.slow)])
def test_the_public_resnet20_reaches_its_accuracy(shared: Path, limit: int | None, spread: float) -> None:
    """8,103 of all 10,000 images; of 1,000 within three binomial deviations of that."""
    from core.networks.checkpoints import open_model

    data = open_data(shared / "data" / "cifar10-jpeg.tar.xz")
    opened = open_model(shared / "models" / "resnet20-cifar10.th")
    assert (data.size("train"), data.size("test")) == (50_000, 10_000)
    assert opened.arch is not None and opened.module is not None
    check_fits(data, opened.arch)
    x, y = data.split("test", limit)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (opened.arch.mean, opened.arch.std))
    with torch.inference_mode():
        answers = [opened.module((part - mean) / std).argmax(dim=1) for part in x.split(250)]
    assert float((torch.cat(answers) == y).float().mean()) == pytest.approx(0.8103, abs=spread)
