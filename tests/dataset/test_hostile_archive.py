"""Archives that are broken or made to do harm: each is refused in one line, or its entries are listed with a reason."""

import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from vgg_ablation.dataset.archive import Listing, Stray, list_archive, printable
from vgg_ablation.dataset.pack import pack
from vgg_ablation.errors import StageError
from vgg_ablation.files import read_table
from vgg_ablation.images.index import EXCLUDED_FILE, INDEX_FILE
from vgg_ablation.runtime.console import Stage

Encode = Callable[..., bytes]

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
FILES = {
    "256_ObjectCategories/003.backpack/003_0001.jpg": b"first" * 200,
    "256_ObjectCategories/003.backpack/003_0002.jpg": b"second",
    "256_ObjectCategories/257.clutter/257_0001.jpg": b"third" * 300,
}
PATHS = [name.removeprefix("256_ObjectCategories/") for name in FILES]


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """Return an entry of a tar that claims `size` bytes, and its content in whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % BLOCK)


def pax(name: str, headers: dict[str, str], content: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(content), headers
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % BLOCK)


WHOLE = b"".join(entry(name, content) for name, content in FILES.items()) + END
LISTED = b"".join(entry(f"256_ObjectCategories/{path}", b"x") for path in ("003.a/1.jpg", "004.b/1.jpg"))


@pytest.fixture(scope="session")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Listing]:
    """Return what lists the archive of these bytes."""
    path = tmp_path_factory.mktemp("hostile") / "images.tar"

    def write_and_list(content: bytes) -> Listing:
        path.write_bytes(content)
        return list_archive(path)

    return write_and_list


Listed = Callable[[bytes], Listing]


def refusal(listed: Listed, content: bytes) -> str:
    with pytest.raises(StageError) as error:
        listed(content)
    return str(error.value)


# Whole or refused.


@pytest.mark.parametrize("content", [b"", b"\n", b"a text\n" * 500, b"\0" * 100, b"\xff" * 5000])
def test_a_file_that_is_no_tar_is_refused_in_one_line(listed: Listed, content: bytes) -> None:
    said = refusal(listed, content)
    assert "not a whole, uncompressed tar" in said
    assert said.isprintable()


@given(st.integers(0, 8 * len(WHOLE) - 1))
@settings(max_examples=300)
def test_a_flipped_bit_is_refused_or_changes_no_more_than_bytes_of_files(listed: Listed, bit: int) -> None:
    """Of names of up to 100 bytes, as are the official ones; a tar has no checksum of longer ones."""
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        listing = listed(bytes(flipped))
    except StageError:
        return
    assert listing == listed(WHOLE)


@given(st.binary(max_size=4 * BLOCK))
@example(bytes(BLOCK))
def test_arbitrary_bytes_are_refused_or_hold_nothing(listed: Listed, content: bytes) -> None:
    try:
        assert listed(content) == Listing((), ())
    except StageError:
        assert content[:BLOCK] != bytes(BLOCK)


def with_checksums(content: bytes) -> bytes:
    """Return a tar whose every header-like block has the checksum that its bytes give."""
    blocks = [bytearray(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK)]
    for block in blocks:
        if b"ustar" in block[257:263] and len(block) == BLOCK:
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))
    return b"".join(blocks)


SEEDS = [
    WHOLE,
    entry(f"256_ObjectCategories/003.backpack/{'long' * 40}.jpg", b"x") + END,
    pax(PATHS[0], {"size": "3", "path": PATHS[1], "comment": "x"}, b"abc") + pax("é" * 120, {}) + END,
    pax(PATHS[0], {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, b"1\n0\n9\n") + END,
    pax(PATHS[0], {"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,5,4"}, b"12345") + END,
    entry("256_ObjectCategories/003.a/1.jpg", kind=tarfile.GNUTYPE_SPARSE) + entry("a", kind=tarfile.SYMTYPE) + END,
]
ODD = st.sampled_from([b"\xff" * 12, b"\x80" + bytes(10) + b"\xff", b"7" * 11 + b"\0", b"-1\0", b"\0", b"9" * 40])
KINDS = b"0\0001234567xgLKSVMDNX"


@pytest.mark.timeout(120)
@given(st.data())
@settings(max_examples=250)
def test_a_mutated_tar_with_right_checksums_is_refused_or_listed(listed: Listed, data: st.DataObject) -> None:
    """Whatever is listed lies within the file."""
    blocks = [
        bytearray(seed[start : start + BLOCK])
        for seed in data.draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2))
        for start in range(0, len(seed), BLOCK)
    ]
    for _ in range(data.draw(st.integers(1, 5))):
        here, there = (data.draw(st.integers(0, len(blocks) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["bytes", "field", "kind", "delete", "copy", "swap"])):
            case "bytes":
                place = data.draw(st.integers(0, BLOCK - 1))
                blocks[here][place : place + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "field":  # the name, the size, the map of a sparse file; of what is no header, some bytes
                value = data.draw(ODD)
                place = data.draw(st.sampled_from([0, 124, 345, 386, 398, 482, 483]))
                blocks[here][place : place + len(value)] = value
                del blocks[here][BLOCK:]
            case "kind":
                blocks[here][156:157] = bytes([data.draw(st.sampled_from(KINDS))])
            case "delete" if len(blocks) > 1:
                del blocks[here]
            case "copy":
                blocks.insert(here, bytearray(blocks[there]))
            case _:
                blocks[here], blocks[there] = blocks[there], blocks[here]
    content = b"".join(blocks)
    if data.draw(st.booleans()):
        content = with_checksums(content)
    try:
        listing = listed(content)
    except StageError:
        return
    assert all(0 <= member.offset <= member.offset + member.size <= len(content) for member in listing.members)
    assert all(thing.path.isprintable() for thing in listing.members + listing.strays)


# Headers that claim what is not so.


@pytest.mark.parametrize("size", [1, BLOCK, 10**12])
def test_a_file_said_to_be_longer_than_the_tar_is_refused(listed: Listed, size: int) -> None:
    assert "not a whole" in refusal(listed, LISTED + entry("256_ObjectCategories/005.c/1.jpg", size=size))


@pytest.mark.parametrize("keyword", ["size", "GNU.sparse.size", "GNU.sparse.realsize"])
@pytest.mark.parametrize("size", ["-512", "-1", "5000", "99999999999999999999999"])
def test_a_size_in_an_extended_header_cannot_reach_beyond_the_next_file(
    listed: Listed, keyword: str, size: str
) -> None:
    content = pax("256_ObjectCategories/005.c/1.jpg", {keyword: size}, b"four") + LISTED + END
    try:
        listing = listed(content)
    except StageError:
        return
    ends = {member.path: member.offset + member.size for member in listing.members}
    assert ends.get("005.c/1.jpg", 0) <= min(ends.get("003.a/1.jpg", len(content)), len(content))


@pytest.mark.timeout(10)
def test_a_sparse_file_of_negative_size_is_not_read_again_and_again(listed: Listed) -> None:
    back = entry("256_ObjectCategories/005.c/1.jpg", kind=tarfile.GNUTYPE_SPARSE, size=-BLOCK)
    assert "not a whole" in refusal(listed, LISTED + back + END)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_claims_a_gigabyte_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(LISTED + entry("././@LongLink", kind=kind, size=2**30))
    with path.open("r+b") as file:
        file.truncate(2**30 + 2**20)  # a hole, so that they are there to be read
    tracemalloc.start()
    try:
        with pytest.raises(StageError, match="too long"):
            list_archive(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_headers_upon_headers_are_refused(listed: Listed, kind: bytes) -> None:
    """Each is read within the one before."""
    assert "too long" in refusal(listed, 5000 * entry("x", b"x", kind) + LISTED + END)


def test_long_sound_names_are_read(listed: Listed) -> None:
    name = f"{'folder/' * 500}003.a/{'n' * 250}.jpg"
    listing = listed(entry(name, b"x") + pax(f"{'é/' * 1000}{name}2", {}, b"y") + END)
    assert [member.path for member in listing.members] == [f"003.a/{'n' * 250}.jpg", f"003.a/{'n' * 250}.jpg2"]


def global_headers(count: int) -> bytes:
    return b"".join(
        tarfile.TarInfo.create_pax_global_header({f"{number}.{key}": "x" * 50 for key in range(100)})
        + entry(f"003.a/{number}")
        for number in range(count)
    )


def peak_of_listing(listed: Listed, content: bytes) -> int:
    tracemalloc.start()
    try:
        listed(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_headers_for_all_files_do_not_pile_up(listed: Listed) -> None:
    few, many = (peak_of_listing(listed, global_headers(count) + END) for count in (20, 200))
    assert many - few < 2**20


def many_files(count: int) -> bytes:
    """Return a tar of empty files, written faster than tarfile does."""
    template = bytearray(entry("256_ObjectCategories/003.backpack/000000.jpg"))
    start = template.index(b"000000")
    checksum = int(template[148:154], 8) - 6 * ord("0")
    content = bytearray(count * template)
    for number in range(count):
        digits, at = b"%06d" % number, number * BLOCK
        content[at + start : at + start + 6] = digits
        content[at + 148 : at + 154] = b"%06o" % (checksum + sum(digits))
    return bytes(content) + END


def test_a_listing_takes_a_fraction_of_what_tarfile_remembers_of_each_file(listed: Listed) -> None:
    few, many = (peak_of_listing(listed, many_files(count)) for count in (1000, 6000))
    assert many - few < 5000 * 450  # bytes; what tarfile remembers would come on top, and is more than that


@pytest.mark.timeout(60)
def test_a_hundred_thousand_files_are_listed(listed: Listed) -> None:
    assert len(listed(many_files(100_000)).members) == 100_000


# Entries that are no members.


IN_CATEGORY = "256_ObjectCategories/003.a/x"


@pytest.mark.parametrize(
    ("content", "stray"),
    [
        (entry(IN_CATEGORY, kind=tarfile.SYMTYPE), Stray("003.a/x", "003.a", "a link")),
        (entry(IN_CATEGORY, kind=tarfile.LNKTYPE), Stray("003.a/x", "003.a", "a link")),
        (entry(IN_CATEGORY, kind=tarfile.CHRTYPE), Stray("003.a/x", "003.a", "a device or pipe")),
        (entry(IN_CATEGORY, kind=tarfile.BLKTYPE), Stray("003.a/x", "003.a", "a device or pipe")),
        (entry(IN_CATEGORY, kind=tarfile.FIFOTYPE), Stray("003.a/x", "003.a", "a device or pipe")),
        (entry(IN_CATEGORY, b"x", b"Z"), Stray("003.a/x", "003.a", "an entry of unknown type")),
        (entry(IN_CATEGORY, b"x", tarfile.GNUTYPE_SPARSE), Stray("003.a/x", "003.a", "a sparse file")),
        (
            pax(IN_CATEGORY, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, b"1\n0\n1\n"),
            Stray("003.a/x", "003.a", "a sparse file"),
        ),
        (entry("256/003.a/greg/x.jpg"), Stray("003.a/greg/x.jpg", "003.a", "not directly in its category's folder")),
        (entry("256/003.a/.."), Stray("003.a/..", "003.a", "not directly in its category's folder")),
        (entry("256_ObjectCategories/README"), Stray("256_ObjectCategories/README", "", "not in a category's folder")),
        (entry("../../etc/passwd"), Stray("../../etc/passwd", "", "not in a category's folder")),
        (entry("256/005.c", kind=tarfile.SYMTYPE), Stray("256/005.c", "", "a link")),
        (entry("256/005.c", kind=tarfile.DIRTYPE), Stray("005.c/", "005.c", "an empty category")),
    ],
)
def test_what_is_no_member_is_listed_with_the_reason(listed: Listed, content: bytes, stray: Stray) -> None:
    assert listed(LISTED + content + END).strays == (stray,)


def test_a_category_whose_files_all_lie_deeper_is_empty_too(listed: Listed) -> None:
    listing = listed(LISTED + entry("256/056.dog/greg/1.jpg") + END)
    assert [(stray.path, stray.reason) for stray in listing.strays] == [
        ("056.dog/", "an empty category"),
        ("056.dog/greg/1.jpg", "not directly in its category's folder"),
    ]


def test_folders_are_no_strays(listed: Listed) -> None:
    folders = ["./", "256_ObjectCategories/", "256_ObjectCategories/003.a/", "256_ObjectCategories/003.a/greg/"]
    assert listed(b"".join(entry(name, kind=tarfile.DIRTYPE) for name in folders) + LISTED + END).strays == ()


def test_members_and_strays_are_sorted_by_path(listed: Listed) -> None:
    names = ["004.b/2", "z", "003.a/greg/1", "003.a/1", "a", "004.b/1"]
    listing = listed(b"".join(entry(name) for name in names) + END)
    assert [member.path for member in listing.members] == ["003.a/1", "004.b/1", "004.b/2"]
    assert [stray.path for stray in listing.strays] == ["003.a/greg/1", "a", "z"]


# Names.


NAMES = ["\udcff\udcfe", "a\nb", "a\rb", "\x1b[2J", "\u202egpj", "\x01", 'a"b,c', "<script>", "é", "=1+1", "\u2028"]


@given(st.text())
@example("".join(NAMES))
def test_a_printable_name_is_one_line_of_utf8(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")))
def test_a_name_that_prints_stays_as_it_is(name: str) -> None:
    assert name.isprintable()
    assert printable(name) == name


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_come_back_from_the_tables_as_they_went_in(
    tmp_path: Path, encoded: Encode, stage: Stage, name: str
) -> None:
    """In the index those of images, in the list of excluded files those of strays."""
    pictures = [encoded(Image.new("RGB", (8, 8), colour), "PNG") for colour in ("red", "blue")]
    places = [f"003.a{name}/1{name}.png", "004.b/1.png"]
    content = b"".join(entry(*named) for named in zip(places, pictures, strict=True))
    (tmp_path / "images.tar").write_bytes(content + entry(f"004.b/{name}/{name}.png") + END)
    listing = list_archive(tmp_path / "images.tar")
    pack(tmp_path / "images.tar", list(listing.members), 32, tmp_path, stage, listing.strays)
    assert read_table(tmp_path / INDEX_FILE)["path"] == [member.path for member in listing.members]
    assert read_table(tmp_path / EXCLUDED_FILE)["path"] == [stray.path for stray in listing.strays]


def test_a_name_that_is_not_utf8_is_shown_escaped(listed: Listed) -> None:
    listing = listed(entry("003.a/caf\udce9.jpg") + END)
    assert [member.path for member in listing.members] == ["003.a/caf\\udce9.jpg"]
