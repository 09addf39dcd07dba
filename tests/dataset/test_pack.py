import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, features

from vgg_ablation.dataset import pack as pack_module
from vgg_ablation.dataset.archive import Listing, Member, Stray, list_archive
from vgg_ablation.dataset.pack import LARGEST_ASPECT, Decoded, UnusableError, choose, decode, pack
from vgg_ablation.dataset.splits import draw_splits
from vgg_ablation.errors import StageError
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_COLUMNS, INDEX_FILE, PIXELS_FILE
from vgg_ablation.images.pixels import Pixels
from vgg_ablation.runtime.console import Stage
from vgg_ablation.runtime.settings import DataSettings

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]
WriteTar = Callable[..., Path]

SIDE = 32


def as_pillow_does(image: Image.Image, side: int) -> np.ndarray:
    """Return an image as RGB with smallest side `side`, by Pillow's own way of keeping proportions."""
    rgb = image.convert("RGB")
    scale = side / min(rgb.size)
    size = tuple(side if length == min(rgb.size) else round(length * scale) for length in rgb.size)
    return np.asarray(rgb.resize((size[0], size[1]), Image.Resampling.BILINEAR))


# One image.


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_of_any_mode_is_the_rgb_that_pillow_makes_of_it(picture: Draw, encoded: Encode, mode: str) -> None:
    content = encoded(picture(90, 50).convert(mode))
    np.testing.assert_array_equal(decode(content, SIDE).pixels, as_pillow_does(Image.open(io.BytesIO(content)), SIDE))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_within_the_noise_of_one_decoded_in_full(picture: Draw, encoded: Encode, mode: str) -> None:
    content = encoded(picture(700, 450).convert(mode), "JPEG", quality=95)
    full = as_pillow_does(Image.open(io.BytesIO(content)), SIDE).astype(float)
    assert np.abs(decode(content, SIDE).pixels - full).max() <= 6


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_another_mode_has_three_channels(picture: Draw, encoded: Encode, mode: str) -> None:
    content = encoded(picture(60, 40).convert(mode), "JPEG")
    assert decode(content, SIDE).pixels.shape == (32, 48, 3)


def test_greyscale_of_sixteen_bits_keeps_its_shades(encoded: Encode) -> None:
    shades = np.linspace(0, 65535, 64, dtype=np.uint16) * np.ones((48, 1), np.uint16)
    eight = Image.fromarray((shades >> 8).astype(np.uint8))
    found = decode(encoded(Image.fromarray(shades)), SIDE).pixels.astype(float)
    assert np.abs(found - as_pillow_does(eight, SIDE)).max() <= 1


@given(width=st.integers(7, 130), height=st.integers(7, 130), side=st.sampled_from([32, 33, 72]))
@example(1, 1, 33)
@settings(max_examples=60)
def test_the_smallest_side_is_exact_and_the_proportions_are_kept(
    picture: Draw, encoded: Encode, width: int, height: int, side: int
) -> None:
    found_height, found_width, _ = decode(encoded(picture(width, height)), side).pixels.shape
    assert min(found_height, found_width) == side
    assert abs(found_width - side * width / min(width, height)) <= 0.5
    assert abs(found_height - side * height / min(width, height)) <= 0.5


@pytest.mark.parametrize(("mode", "greyscale"), [("1", True), ("L", True), ("LA", True), ("RGB", False), ("P", False)])
def test_a_file_of_one_channel_counts_as_greyscale(picture: Draw, encoded: Encode, mode: str, greyscale: bool) -> None:
    assert decode(encoded(picture(40, 40).convert(mode)), SIDE).greyscale is greyscale


def test_an_image_that_is_too_large_is_not_decoded(
    picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(picture(101, 100))
    monkeypatch.setattr(pack_module, "LARGEST_IMAGE", 10_000)
    with pytest.raises(UnusableError, match="too large: 101 x 100 pixels"):
        decode(content, SIDE)


@pytest.mark.parametrize("size", [(LARGEST_ASPECT, 1), (1, LARGEST_ASPECT)])
def test_the_most_elongated_image_is_packed(picture: Draw, encoded: Encode, size: tuple[int, int]) -> None:
    assert max(decode(encoded(picture(*size)), SIDE).pixels.shape) == LARGEST_ASPECT * SIDE


def test_a_file_that_claims_more_pixels_than_pillow_allows_is_unusable(encoded: Encode) -> None:
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(UnusableError):
        decode(bytes(content), SIDE)


def test_postscript_is_never_run(picture: Draw, encoded: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands it to Ghostscript, a program for programs that a picture has no need of."""
    content = encoded(picture(40, 40), "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    with pytest.raises(UnusableError):
        decode(content, SIDE)


def is_usable_or_unusable(content: bytes) -> bool:
    """Return that decoding ended in one of its two ways: any other error is let through."""
    try:
        return decode(content, SIDE).pixels.shape[2] == 3
    except UnusableError:
        return True


IGNORE_ODD_METADATA = pytest.mark.filterwarnings("ignore")  # as `pack` does


@IGNORE_ODD_METADATA
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]), st.binary())
def test_no_bytes_crash_the_decoder(magic: bytes, content: bytes) -> None:
    assert is_usable_or_unusable(magic + content)


FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "JPEG2000", "ICO", "TGA", "PCX", "PPM", "SPIDER", "BLP"]
FORMATS += [name for name in ("WEBP", "AVIF") if features.check(name.lower())]


@IGNORE_ODD_METADATA
@pytest.mark.parametrize("kind", FORMATS)
def test_no_damaged_image_crashes_the_decoder(picture: Draw, encoded: Encode, kind: str) -> None:
    mode = {"SPIDER": "F", "BLP": "P", "GIF": "P"}.get(kind, "RGB")
    whole = encoded(picture(40, 36).convert(mode), kind)
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        near = rng.choice([32, 300, damaged.size])  # most formats say at their beginning how the rest is to be read
        places = rng.integers(0, min(near, damaged.size), rng.integers(1, 5))
        damaged[places] = rng.integers(0, 256, len(places))
        assert is_usable_or_unusable(damaged.tobytes()[: rng.integers(1, 2 * damaged.size)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@given(share=st.floats(0, 0.95))
@example(share=0.0)
@settings(max_examples=30)
def test_an_image_cut_short_is_unusable(picture: Draw, encoded: Encode, kind: str, share: float) -> None:
    whole = encoded(picture(40, 36), kind)
    with pytest.raises(UnusableError):
        decode(whole[: int(share * len(whole))], SIDE)


# Choosing.


def listing(*paths: str) -> Listing:
    return Listing(tuple(Member(path, path.split("/", maxsplit=1)[0], 0, 0) for path in paths), ())


CHOICE = listing("001.ak47/1.jpg", "003.backpack/1.jpg", "003.backpack/2.jpg", "257.clutter/1.jpg")


@pytest.mark.parametrize("names", [("backpack", "ak47"), ("003.backpack", "001.ak47"), ("ak47", "003.backpack")])
def test_categories_are_chosen_by_name_with_or_without_number(names: tuple[str, ...]) -> None:
    assert choose(CHOICE, names, clutter=False).members == CHOICE.members[:3]


def test_only_the_named_categories_are_chosen() -> None:
    assert choose(CHOICE, ("backpack",), clutter=True).members == CHOICE.members[1:3]


@pytest.mark.parametrize(("clutter", "chosen"), [(False, CHOICE.members[:3]), (True, CHOICE.members)])
def test_clutter_is_a_category_where_it_is_asked_for(clutter: bool, chosen: tuple[Member, ...]) -> None:
    assert choose(CHOICE, "all", clutter=clutter).members == chosen


def test_an_unknown_category_is_named_beside_those_there_are() -> None:
    with pytest.raises(
        StageError, match=r"'backpacks' is not in the archive; .*001\.ak47, 003\.backpack, 257\.clutter"
    ):
        choose(CHOICE, ("ak47", "backpacks"), clutter=False)


def test_of_many_categories_an_error_lists_some() -> None:
    many = listing(*(f"{number:03d}.thing/1.jpg" for number in range(257)))
    with pytest.raises(StageError, match=r"it holds 257: 000\.thing, .*, \.\.\.$"):
        choose(many, ("dog",), clutter=False)


@pytest.mark.parametrize("names", [("backpack", "003.backpack"), ("003.backpack", "ak47", "backpack")])
def test_a_category_named_in_two_ways_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(StageError, match=r"'003\.backpack'.* are one category, 003\.backpack$"):
        choose(CHOICE, tuple(reversed(names)), clutter=False)


def test_a_name_of_two_categories_is_refused_with_both() -> None:
    with pytest.raises(StageError, match=r"'backpack' may be 003\.backpack or 004\.backpack"):
        choose(listing("003.backpack/1.jpg", "004.backpack/1.jpg"), ("backpack", "003.backpack"), clutter=False)


def test_categories_of_one_name_can_be_told_apart_by_number() -> None:
    both = listing("003.backpack/1.jpg", "004.backpack/1.jpg")
    assert choose(both, ("003.backpack", "004.backpack"), clutter=False) == both


STRAYS = tuple(
    Stray(path, category, "a link")
    for path, category in [
        ("003.backpack/x", "003.backpack"),
        ("005.empty/", "005.empty"),
        ("257.clutter/x", "257.clutter"),
        ("README", ""),
    ]
)


@pytest.mark.parametrize(
    ("names", "clutter", "listed"),
    [
        ("all", True, ["003.backpack/x", "005.empty/", "257.clutter/x", "README"]),
        ("all", False, ["003.backpack/x", "005.empty/", "README"]),
        (("ak47", "backpack"), False, ["003.backpack/x", "README"]),
        (("ak47", "clutter"), False, ["257.clutter/x", "README"]),
    ],
)
def test_strays_of_the_chosen_categories_and_of_none_are_listed(
    names: str | tuple[str, ...], clutter: bool, listed: list[str]
) -> None:
    chosen = choose(Listing(CHOICE.members, STRAYS), names, clutter=clutter)
    assert [stray.path for stray in chosen.strays] == listed


@pytest.mark.parametrize("name", ["empty", "005.empty"])
def test_an_empty_category_that_is_named_is_refused(name: str) -> None:
    with pytest.raises(StageError, match=r"005\.empty is empty"):
        choose(Listing(CHOICE.members, STRAYS), ("ak47", name), clutter=False)


# Packing.


@pytest.fixture
def packing(tar: WriteTar, tmp_path: Path, stage: Stage) -> Callable[..., dict[str, object]]:
    """Return what packs files by their path into the folder `processed`, and returns the counts."""

    def run(files: dict[str, bytes], categories: str | tuple[str, ...] = "all") -> dict[str, object]:
        archive = tar({f"256_ObjectCategories/{path}": content for path, content in files.items()})
        chosen = choose(list_archive(archive), categories, clutter=False)
        return pack(archive, list(chosen.members), SIDE, tmp_path / "processed", stage, chosen.strays)

    return run


Packing = Callable[..., dict[str, object]]


@pytest.fixture
def files(picture: Draw, encoded: Encode) -> dict[str, bytes]:
    """Five files of three categories, all of them pictures."""
    paths = ["001.ak47/1.jpg", "003.backpack/1.jpg", "003.backpack/2.jpg", "010.beer-mug/1.jpg", "010.beer-mug/2.jpg"]
    return {path: encoded(picture(50 + 3 * seed, 40, seed), "JPEG") for seed, path in enumerate(paths)}


def read(tmp_path: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "processed" / name)


def test_the_pixels_of_each_row_are_the_decoded_image(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    packing(files)
    values = np.fromfile(tmp_path / "processed" / PIXELS_FILE, np.uint8)
    for row in read(tmp_path, INDEX_FILE).to_dict("records"):
        height, width, offset = row["height"], row["width"], row["offset"]
        image = values[offset : offset + 3 * height * width].reshape(height, width, 3)
        np.testing.assert_array_equal(image, decode(files[row["path"]], SIDE).pixels)


def test_the_images_fill_the_pixel_file(packing: Packing, files: dict[str, bytes], tmp_path: Path) -> None:
    packing(files)
    index = read(tmp_path, INDEX_FILE)
    sizes = 3 * index["height"] * index["width"]
    assert list(index["offset"]) == [0, *sizes.cumsum()[:-1]]
    assert (tmp_path / "processed" / PIXELS_FILE).stat().st_size == sizes.sum()


def test_each_row_has_the_digest_of_its_file(packing: Packing, files: dict[str, bytes], tmp_path: Path) -> None:
    packing(files)
    index = read(tmp_path, INDEX_FILE)
    assert list(index["sha256"]) == [hashlib.sha256(files[path]).hexdigest() for path in index["path"]]


def test_images_are_numbered_in_the_order_of_their_paths(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    packing(dict(reversed(files.items())))
    index = read(tmp_path, INDEX_FILE)
    assert list(index["image"]) == [0, 1, 2, 3, 4]
    assert list(index["path"]) == sorted(files)


def test_labels_number_the_chosen_categories_by_official_name(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    packing(files, ("beer-mug", "backpack"))
    index = read(tmp_path, INDEX_FILE)
    labels = dict(zip(index["category"], index["label"], strict=True))
    assert labels == {"003.backpack": 0, "010.beer-mug": 1}


def test_the_index_has_its_columns(packing: Packing, files: dict[str, bytes], tmp_path: Path) -> None:
    packing(files)
    assert list(read(tmp_path, INDEX_FILE).columns) == INDEX_COLUMNS


def test_packing_twice_writes_the_same_bytes(packing: Packing, files: dict[str, bytes], tmp_path: Path) -> None:
    packing(files)
    first = {path.name: path.read_bytes() for path in (tmp_path / "processed").iterdir()}
    packing(files)
    assert {path.name: path.read_bytes() for path in (tmp_path / "processed").iterdir()} == first


def test_unusable_files_are_listed_by_name_with_the_reason(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    packing(files | {"003.backpack/RENAME2": b"mv a b", "010.beer-mug/9.jpg": files["001.ak47/1.jpg"][:-100]})
    excluded = read(tmp_path, EXCLUDED_FILE).set_index("path")["reason"]
    assert excluded["003.backpack/RENAME2"] == "not an image"
    assert excluded["010.beer-mug/9.jpg"].startswith("undecodable: ")
    assert len(excluded) == 2


def test_a_file_of_too_many_bytes_is_listed(
    packing: Packing, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_module, "LARGEST_MEMBER", 5000)
    packing(files | {"003.backpack/3.jpg": bytes(5001)})
    assert read(tmp_path, EXCLUDED_FILE).to_dict("records") == [
        {"path": "003.backpack/3.jpg", "reason": "too large: 5,001 bytes"}
    ]


def test_of_files_with_the_same_bytes_the_first_is_kept(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    same = files["003.backpack/1.jpg"]
    packing(files | {"003.backpack/9.jpg": same, "010.beer-mug/0.jpg": same})
    assert list(read(tmp_path, INDEX_FILE)["path"]) == sorted(files)
    assert list(read(tmp_path, EXCLUDED_FILE)["reason"]) == 2 * ["duplicate of 003.backpack/1.jpg"]


def test_the_counts_are_those_of_the_tables(
    packing: Packing, files: dict[str, bytes], picture: Draw, encoded: Encode
) -> None:
    strays = {"003.backpack/RENAME2": b"mv", "003.backpack/9.jpg": files["001.ak47/1.jpg"], "003.backpack/z": b"x"}
    grey = {"001.ak47/2.jpg": encoded(picture(40, 40).convert("L"), "JPEG")}
    assert packing(files | strays | grey) == {
        "images": 6,
        "categories": ["001.ak47", "003.backpack", "010.beer-mug"],
        "greyscale": 1,
        "excluded": 3,
        "excluded_reasons": {"duplicate": 1, "not an image": 2},
        "duplicates": 1,
    }


def test_strays_are_listed_and_counted_among_the_excluded(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Those of the official archive: 198.spider/RENAME2, and 056.dog/greg."""
    official = {"056.dog/1.jpg": files["001.ak47/1.jpg"][:-9] + bytes(9), "198.spider/RENAME2": b"mv a b"}
    official |= {"198.spider/1.jpg": files["001.ak47/1.jpg"] + b"!", "056.dog/greg/1.jpg": files["001.ak47/1.jpg"]}
    official["198.spider/more/2.jpg"] = b"x"
    counts = packing(files | official, ("dog", "spider"))
    assert list(read(tmp_path, EXCLUDED_FILE).itertuples(index=False, name=None)) == [
        ("056.dog/greg/1.jpg", "not directly in its category's folder"),
        ("198.spider/RENAME2", "not an image"),
        ("198.spider/more/2.jpg", "not directly in its category's folder"),
    ]
    assert (counts["excluded"], counts["excluded_reasons"]) == (
        3,
        {"not an image": 1, "not directly in its category's folder": 2},
    )


def test_some_categories_have_the_images_that_they_have_among_all(
    packing: Packing, files: dict[str, bytes], tmp_path: Path
) -> None:
    def images() -> dict[str, bytes]:
        values = (tmp_path / "processed" / PIXELS_FILE).read_bytes()
        index = read(tmp_path, INDEX_FILE)
        ends = index["offset"] + 3 * index["height"] * index["width"]
        return {path: values[start:end] for path, start, end in zip(index["path"], index["offset"], ends, strict=True)}

    packing(files)
    every = images()
    packing(files, ("beer-mug", "backpack"))
    assert images() == {path: pixels for path, pixels in every.items() if not path.startswith("001")}


def test_nothing_excluded_is_an_empty_list(packing: Packing, files: dict[str, bytes], tmp_path: Path) -> None:
    packing(files)
    assert read(tmp_path, EXCLUDED_FILE).empty


def test_pillows_warnings_of_odd_metadata_are_not_shown(
    packing: Packing, files: dict[str, bytes], picture: Draw, encoded: Encode
) -> None:
    transparent = encoded(picture(40, 40).convert("P"), transparency=bytes(range(100)))
    packing(files | {"001.ak47/2.png": transparent})  # warnings are errors here


@pytest.mark.parametrize("chosen", ["all", ("backpack",)])
def test_fewer_than_two_categories_are_refused(
    packing: Packing, files: dict[str, bytes], chosen: str | tuple[str, ...]
) -> None:
    kept = {path: content for path, content in files.items() if path.startswith("003")} if chosen == "all" else files
    with pytest.raises(StageError, match="at least two"):
        packing(kept, chosen)


def settings_for(**changes: int) -> DataSettings:
    numbers = {"train_per_class": 2, "splits": 3, "seed": 0} | changes
    return DataSettings(source="x", categories="all", clutter=False, validation_fraction=0.5, **numbers)  # pyright: ignore[reportArgumentType]


def test_a_category_without_a_usable_image_is_refused_by_name(
    packing: Packing, picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    """Else its label would be left out, and those after it lie beyond the net's last output."""
    files = {f"{1 + seed % 3:03d}.x{seed % 3}/{seed}.png": encoded(picture(40, 36, seed)) for seed in range(9)}
    files |= {path: b"no image" for path in files if path.startswith("002")}

    def pack_and_split() -> None:
        packing(files)
        draw_splits(read(tmp_path, INDEX_FILE), settings_for())

    with pytest.raises(StageError, match=r"002\.x1"):
        pack_and_split()


def test_no_split_holds_the_same_bytes_in_two_parts(
    packing: Packing, picture: Draw, encoded: Encode, tmp_path: Path
) -> None:
    pictures = [encoded(picture(40, 36, seed)) for seed in range(8)]
    packing({f"{1 + seed // 4:03d}.x/{seed}-{copy}.png": pictures[seed] for seed in range(8) for copy in range(3)})
    index = read(tmp_path, INDEX_FILE)
    splits = draw_splits(index, settings_for())
    for split in range(3):
        parts = [set(index["sha256"][splits[f"split_{split}"] == part]) for part in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 8


def test_official_photographs_are_all_packed_but_for_a_known_duplicate(
    photographs: Path, tmp_path: Path, stage: Stage
) -> None:
    """Of these, 252.car-side-101 is greyscale, and 224_0004 and 224_0095 are the same bytes."""
    chosen = list(choose(list_archive(photographs), ("touring-bike", "car-side-101"), clutter=False).members)
    counts = pack(photographs, chosen, SIDE, tmp_path / "processed", stage)
    assert read(tmp_path, EXCLUDED_FILE).to_dict("records") == [
        {"path": "224.touring-bike/224_0095.jpg", "reason": "duplicate of 224.touring-bike/224_0004.jpg"}
    ]
    assert (counts["images"], counts["greyscale"]) == (len(chosen) - 1, 116)
    assert Pixels.open(tmp_path / "processed").categories == ("224.touring-bike", "252.car-side-101")


def test_a_decoded_image_is_rgb_bytes(picture: Draw, encoded: Encode) -> None:
    found = decode(encoded(picture(40, 36)), SIDE)
    assert isinstance(found, Decoded)
    assert (found.pixels.dtype, found.pixels.flags.c_contiguous) == (np.uint8, True)
