"""Archives that are whole, broken, or made to do harm: listed, or refused in one line."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vgg_ablation.dataset.archive import list_archive, members
from vgg_ablation.dataset.layout import Listing, Member, Stray
from vgg_ablation.errors import StageError

WriteTar = Callable[..., Path]
Listed = Callable[[bytes], Listing]

ROOT = "256_ObjectCategories"
FILES = {
    f"{ROOT}/003.backpack/003_0001.jpg": b"first" * 200,
    f"{ROOT}/003.backpack/003_0002.jpg": b"second",
    f"{ROOT}/257.clutter/257_0001.jpg": b"third" * 300,
}
PATHS = [name.removeprefix(f"{ROOT}/") for name in FILES]
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """Return an entry of a tar that claims `size` bytes, and its content in whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % BLOCK)


def pax(name: str, headers: dict[str, str], content: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(content), headers
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % BLOCK)


ENTRIES = b"".join(entry(name, content) for name, content in FILES.items())
WHOLE = ENTRIES + END
LISTED = b"".join(entry(f"{ROOT}/{path}", b"x") for path in ("003.a/1.jpg", "004.b/1.jpg"))


@pytest.fixture(scope="session")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Listed:
    """Return what lists the archive of these bytes."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"

    def write_and_list(content: bytes) -> Listing:
        path.write_bytes(content)
        return list_archive(path)

    return write_and_list


def refusal(listed: Listed, content: bytes) -> str:
    with pytest.raises(StageError) as error:
        listed(content)
    assert str(error.value).isprintable()
    return str(error.value)


# Members.


@pytest.mark.parametrize("prefix", ["", f"./{ROOT}/", "/etc/", "../../"])
def test_members_are_the_files_in_category_folders_at_any_depth_by_path(tar: WriteTar, prefix: str) -> None:
    """Absolute names and `..` are labels: nothing is extracted."""
    strays = {"README": b"x", f"{prefix}list.txt": b"x", f"{prefix}003.backpack/deep/a.jpg": b"x"}
    path = tar(strays | {prefix + path: content for path, content in zip(PATHS, FILES.values(), strict=True)})
    found = [(member.path, member.category) for member in members(path)]
    assert found == [(path, path.partition("/")[0]) for path in PATHS]


@given(st.lists(st.binary(max_size=3 * BLOCK), min_size=1, max_size=5))
@settings(max_examples=15)
def test_a_members_bytes_are_where_it_says(tmp_path_factory: pytest.TempPathFactory, files: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "placed.tar"
    with tarfile.open(path, "w") as written:
        for number, content in enumerate(files):
            info = tarfile.TarInfo(f"{ROOT}/001.{'long' * 20}/{number}{'name' * 20}.jpg")  # long names have own headers
            info.size = len(content)
            written.addfile(info, io.BytesIO(content))
    whole = path.read_bytes()
    assert [whole[member.offset : member.offset + member.size] for member in members(path)] == files


def test_the_official_layout_is_read(photographs: Path) -> None:
    found = members(photographs)
    assert (len(found), len({member.category for member in found})) == (1546, 14)
    assert found[0] == Member("003.backpack/003_0001.jpg", "003.backpack", found[0].offset, found[0].size)


# Complete or refused.


@given(st.integers(0, len(ENTRIES) + BLOCK - 1) | st.sampled_from(range(0, len(ENTRIES) + 1, BLOCK)))
@settings(max_examples=40)
@example(3 * BLOCK)  # between the first member and the second
@example(len(ENTRIES))
def test_a_tar_cut_short_is_refused(listed: Listed, cut: int) -> None:
    refusal(listed, WHOLE[:cut])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_refused(listed: Listed, compress: Callable[[bytes], bytes]) -> None:
    assert "not a tar, but " in refusal(listed, compress(WHOLE))


@given(st.integers(0, 8 * len(WHOLE) - 1))
@settings(max_examples=80)
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
@settings(max_examples=40)
@example(b"")
@example(b"a text\n" * 500)
@example(bytes(BLOCK))
def test_arbitrary_bytes_are_refused_in_one_line(listed: Listed, content: bytes) -> None:
    if content[:BLOCK] == bytes(BLOCK):  # the end of an archive
        assert listed(content) == Listing((), ())
    else:
        refusal(listed, content)


def with_checksums(content: bytes) -> bytes:
    """Return a tar whose every header-like block has the checksum that its bytes give."""
    blocks = [bytearray(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK)]
    for block in blocks:
        if b"ustar" in block[257:263] and len(block) == BLOCK:
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))
    return b"".join(blocks)


SEEDS = [
    WHOLE,
    entry(f"{ROOT}/003.backpack/{'long' * 40}.jpg", b"x") + END,
    pax(PATHS[0], {"size": "3", "path": PATHS[1], "comment": "x"}, b"abc") + pax("é" * 120, {}) + END,
    pax(PATHS[0], {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, b"1\n0\n9\n") + END,
    pax(PATHS[0], {"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,5,4"}, b"12345") + END,
    entry(f"{ROOT}/003.a/1.jpg", kind=tarfile.GNUTYPE_SPARSE) + entry("a", kind=tarfile.SYMTYPE) + END,
]
ODD = st.sampled_from([b"\xff" * 12, b"\x80" + bytes(10) + b"\xff", b"7" * 11 + b"\0", b"-1\0", b"\0", b"9" * 40])
KINDS = b"0\0001234567xgLKSVMDNX"


@pytest.mark.timeout(120)
@given(st.data())
@settings(max_examples=60)
def test_a_mutated_tar_with_right_checksums_is_refused_or_its_members_are_inside(
    listed: Listed, data: st.DataObject
) -> None:
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


@pytest.mark.parametrize("again", [f"{ROOT}/{PATHS[0]}", f"./{ROOT}//{PATHS[0]}"])
def test_a_file_named_twice_is_refused(listed: Listed, again: str) -> None:
    assert refusal(listed, ENTRIES + entry(again) + END).endswith(f"names {ROOT}/{PATHS[0]} twice")


# Headers that claim what is not so.


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_negative_size_is_refused_and_not_read_again_and_again(listed: Listed, kind: bytes) -> None:
    """CVE-2025-8194."""
    assert "not a complete" in refusal(listed, LISTED + entry(f"{ROOT}/005.c/1.jpg", kind=kind, size=-BLOCK) + END)


@pytest.mark.parametrize("keyword", ["size", "GNU.sparse.size", "GNU.sparse.realsize"])
@pytest.mark.parametrize("size", ["-512", "5000", "99999999999999999999999"])
def test_a_size_in_an_extended_header_cannot_reach_beyond_the_next_file(
    listed: Listed, keyword: str, size: str
) -> None:
    content = pax(f"{ROOT}/005.c/1.jpg", {keyword: size}, b"four") + LISTED + END
    try:
        listing = listed(content)
    except StageError:
        return
    ends = {member.path: member.offset + member.size for member in listing.members}
    assert ends.get("005.c/1.jpg", 0) <= min(ends.get("003.a/1.jpg", len(content)), len(content))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_claims_a_gigabyte_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(LISTED + entry("././@LongLink", kind=kind, size=2**30))
    with path.open("r+b") as file:
        file.truncate(2**30 + 2**20)  # a hole, so that the bytes are there to be read
    tracemalloc.start()
    try:
        with pytest.raises(StageError, match="too long"):
            list_archive(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_thousands_of_headers_of_one_entry_are_refused(listed: Listed, kind: bytes) -> None:
    """Each is read within the one before."""
    assert "not a complete" in refusal(listed, 5000 * entry("x", b"x", kind) + LISTED + END)


def test_long_names_are_read(listed: Listed) -> None:
    name = f"{'folder/' * 500}003.a/{'n' * 250}.jpg"
    listing = listed(entry(name, b"x") + pax(f"{'é/' * 1000}{name}2.jpg", {}, b"y") + END)
    paths = [member.path.removeprefix("folder/" * 500) for member in listing.members]
    assert [path[path.index("003.a") :] for path in paths] == [f"003.a/{'n' * 250}.jpg", f"003.a/{'n' * 250}.jpg2.jpg"]


def global_headers(count: int) -> bytes:
    return b"".join(
        tarfile.TarInfo.create_pax_global_header({f"{number}.{key}": "x" * 50 for key in range(100)})
        + entry(f"003.a/{number}")
        for number in range(count)
    )


def many_files(count: int) -> bytes:
    """Return a tar of empty files, written faster than tarfile does."""
    template = bytearray(entry(f"{ROOT}/003.backpack/000000.jpg"))
    start = template.index(b"000000")
    checksum = int(template[148:154], 8) - 6 * ord("0")
    content = bytearray(count * template)
    for number in range(count):
        digits, at = b"%06d" % number, number * BLOCK
        content[at + start : at + start + 6] = digits
        content[at + 148 : at + 154] = b"%06o" % (checksum + sum(digits))
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "few", "many", "limit"),
    [(global_headers, 20, 200, 2**20), (many_files, 500, 2500, 2000 * 900)],  # tarfile remembers more of each file
)
def test_memory_is_bounded(listed: Listed, make: Callable[[int], bytes], few: int, many: int, limit: int) -> None:
    peaks = []
    for content in (make(few) + END, make(many) + END):
        tracemalloc.start()
        listed(content)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < limit


# Entries that are no members, and odd names.

INSIDE = f"{ROOT}/003.a/x"
BELOW = "not directly in its category's folder"
SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}


@pytest.mark.parametrize(
    ("content", "stray"),
    [
        (entry(INSIDE, kind=tarfile.SYMTYPE), Stray("003.a/x", "003.a", "a link")),
        (entry(INSIDE, kind=tarfile.LNKTYPE), Stray("003.a/x", "003.a", "a link")),
        (entry(INSIDE, kind=tarfile.CHRTYPE), Stray("003.a/x", "003.a", "a device or pipe")),
        (entry(INSIDE, kind=tarfile.FIFOTYPE), Stray("003.a/x", "003.a", "a device or pipe")),
        (entry(INSIDE, b"x", b"Z"), Stray("003.a/x", "003.a", "an entry of unknown type")),
        (entry(INSIDE, b"x", tarfile.GNUTYPE_SPARSE), Stray("003.a/x", "003.a", "a sparse file")),
        (pax(INSIDE, SPARSE, b"1\n0\n1\n"), Stray("003.a/x", "003.a", "a sparse file")),
        (
            entry(f"{ROOT}/003.a/greg/x.jpg"),
            Stray("003.a/greg/x.jpg", "003.a", BELOW),
        ),
        (entry(f"{ROOT}/003.a/.."), Stray("003.a/..", "003.a", BELOW)),
        (entry("../../etc/passwd"), Stray("../../etc/passwd", "", "not in a category's folder")),
        (entry("256/005.c", kind=tarfile.SYMTYPE), Stray("256/005.c", "", "a link")),
        (entry(f"{ROOT}/005.c", kind=tarfile.DIRTYPE), Stray("005.c/", "005.c", "an empty category")),
        (entry("logs", kind=tarfile.DIRTYPE), Stray("logs/", "", "an empty folder")),
        (entry(f"{ROOT}/003.a/.x.jpg"), Stray("003.a/.x.jpg", "003.a", "a hidden file")),
        (entry("__MACOSX/003.a/x.jpg"), Stray("__MACOSX/003.a/x.jpg", "", "a hidden file")),
    ],
)
def test_what_is_no_member_is_listed_with_the_reason(listed: Listed, content: bytes, stray: Stray) -> None:
    folders = b"".join(entry(name, kind=tarfile.DIRTYPE) for name in ("./", f"{ROOT}/003.a/"))
    assert listed(folders + LISTED + content + END).strays == (stray,)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("caf\udce9", "caf\\udce9"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\u202egpj", "\\u202egpj"), ("é", "é")],
)
def test_a_name_that_does_not_print_is_escaped(listed: Listed, name: str, shown: str) -> None:
    listing = listed(entry(f"003.a{name}/{name}.jpg") + END)
    assert listing.members[0].path == f"003.a{shown}/{shown}.jpg"


def test_headers_as_long_as_a_preview_in_extended_attributes_are_read(listed: Listed) -> None:
    """As macOS's tar writes them."""
    attribute = {"LIBARCHIVE.xattr.com.apple.ResourceFork": "A" * 2**20}
    assert len(listed(pax(f"{ROOT}/003.a/1.jpg", attribute, b"x") + END).members) == 1


def test_headers_that_are_too_long_are_named_with_the_way_to_pack_without_them(listed: Listed) -> None:
    attribute = {"LIBARCHIVE.xattr.x": "A" * 2**24}
    assert "--no-xattrs" in refusal(listed, pax(f"{ROOT}/003.a/1.jpg", attribute, b"x") + END)
