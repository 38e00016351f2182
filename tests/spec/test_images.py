"""Pictures in and out. Every file is made here, and the values expected are worked out by hand or by other formulas."""

import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
import threading
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin, features

from nst_spec import files, images
from nst_spec.errors import NstError
from nst_spec.images import encoding, reading, writing

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [128, 128, 128]]], np.uint8)
LOSSLESS = [".png", ".tif", ".tiff", ".bmp", ".webp"]


@pytest.fixture(autouse=True)
def pillow_settings_stay():
    before = Image.MAX_IMAGE_PIXELS
    yield
    assert before == Image.MAX_IMAGE_PIXELS


OVER_WHITE = "is transparent in parts, which show white"


def strict(message):
    raise AssertionError(f"unexpected warning: {message}")


def read(source, **options):
    """Read, and fail at any warning."""
    return images.read(source, warn=strict, **options)


def read_over_white(source):
    """Read what is transparent in parts, and fail where that is not the one warning."""
    picture, notes = read_with_notes(source)
    assert [note.endswith(OVER_WHITE) for note in notes] == [True]
    return picture


def read_with_notes(source, **options):
    notes = []
    return images.read(source, warn=notes.append, **options), notes


def refusal(source, **options):
    """Return the error message, which must be one line."""
    with pytest.raises(NstError) as caught:
        read(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour_type, rows=b"", extra=b""):
    """Return the bytes of a PNG from its unfiltered rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    stride = len(rows) // height if height else 0
    filtered = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height if rows else 0))
    body = chunk(b"IDAT", zlib.compress(filtered)) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def png_chunks(data):
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def icc(kind, space, connection, tags):
    """Return the bytes of an ICC profile, version 2.4."""
    fixed = [round(x * 65536) for x in (0.9642, 1.0, 0.8249)]
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value
    header = struct.pack(">I4sI4s4s4s12s4s", offset + len(data), b"", 0x02400000, kind, space, connection, b"", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", *fixed)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def linear_grey_profile():
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(x * 65536) for x in (0.9642, 1.0, 0.8249)))
    return icc(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})


def odd_cmyk_profile():
    """Return a profile in which cyan ink is sRGB's red, black ink is black and all other inks leave the paper white."""
    table = b"".join(
        bytes([0, 128, 128]) if k else bytes([138, 209, 198]) if (c, m, y) == (1, 0, 0) else bytes([255, 128, 128])
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    )
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table + ramp * 3
    return icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """Return sRGB's profile with the primaries of red and blue exchanged."""
    profile = srgb_profile()
    assert profile.count(b"rXYZ") == profile.count(b"bXYZ") == 1
    return profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".ppm", ".tga"])
def test_rgb_files_are_exact(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(COLOURS).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    picture = read(path)
    assert picture.pixels.dtype == np.float64
    np.testing.assert_array_equal(picture.pixels, COLOURS / 255.0)
    assert picture.name == f"picture{suffix}"
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_path_may_be_a_string(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    assert read(str(tmp_path / "a.png")).name == "a.png"


def test_jpeg(tmp_path):
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    pixels = read(tmp_path / "a.jpg").pixels
    assert pixels.shape == (8, 16, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to(np.array([200, 100, 50]) / 255, (8, 16, 3)), atol=2 / 255)


GREY = [[0, 100], [200, 255]]
RED_HALF = [1.0, 1 - 128 / 255, 1 - 128 / 255]  # red at alpha 128 over white


def grey_expected(values, top=255.0):
    return np.repeat(np.array(values, np.float64)[..., None] / top, 3, axis=2)


def test_greyscale(tmp_path):
    Image.fromarray(np.array(GREY, np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, grey_expected(GREY))


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, grey_expected([[0, 255, 255]]))


def test_what_is_transparent_is_said_and_what_is_opaque_is_not():
    for source in (Image.new("RGBA", (2, 1), (1, 2, 3, 254)), np.full((1, 2, 4), 0.5)):
        assert [note.endswith(OVER_WHITE) for note in read_with_notes(source)[1]] == [True]
    assert read_with_notes(Image.new("RGBA", (2, 1), (1, 2, 3, 255)))[1] == []


@pytest.mark.parametrize("mode", ["RGBA", "RGBa"])
def test_rgb_with_alpha_is_over_white(mode):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 128))
    image.putpixel((1, 0), (7, 8, 9, 0))
    pixels = read_over_white(image.convert(mode)).pixels
    np.testing.assert_allclose(pixels, [[RED_HALF, [1, 1, 1]]], atol=1e-15)


def test_rgba_file_is_over_white_in_float64(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 4, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    colour, alpha = rgba[..., :3] / 255, rgba[..., 3:] / 255
    np.testing.assert_allclose(read_over_white(tmp_path / "a.png").pixels, 1 - alpha * (1 - colour), atol=1e-15)


def test_grey_with_alpha_is_over_white(tmp_path):
    Image.new("LA", (1, 1), (51, 51)).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        read_over_white(tmp_path / "a.png").pixels, grey_expected([[0.2 * 0.2 + 0.8]], 1.0), atol=1e-15
    )
    premultiplied = Image.new("LA", (1, 1), (255, 51)).convert("La")
    np.testing.assert_allclose(read_over_white(premultiplied).pixels, 1.0, atol=1e-15)


def palette_image():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    return image


def test_palette(tmp_path):
    palette_image().save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, [np.eye(3)])


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff"])
def test_palette_with_transparency(tmp_path, transparency):
    palette_image().save(tmp_path / "a.png", transparency=transparency)
    np.testing.assert_array_equal(read_over_white(tmp_path / "a.png").pixels, [[[1, 0, 0], [1, 1, 1], [0, 0, 1]]])


def test_palette_with_alpha():
    image = palette_image().convert("PA")
    image.putalpha(Image.fromarray(np.array([[128, 0, 255]], np.uint8)))
    assert image.mode == "PA"
    np.testing.assert_allclose(read_over_white(image).pixels, [[RED_HALF, [1, 1, 1], [0, 0, 1]]], atol=1e-15)


@pytest.mark.parametrize(
    ("image", "transparency", "expected"),
    [
        (Image.fromarray(np.array(GREY, np.uint8)), 100, [[0, 255], [200, 255]]),
        (Image.fromarray(np.array(GREY, np.uint8)).convert("RGB"), (100, 100, 100), [[0, 255], [200, 255]]),
        (Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"), 0, [[255, 255]]),
    ],
)
def test_a_transparent_colour_shows_white(tmp_path, image, transparency, expected):
    image.save(tmp_path / "a.png", transparency=transparency)
    np.testing.assert_array_equal(read_over_white(tmp_path / "a.png").pixels, grey_expected(expected))


@pytest.mark.parametrize(("depth", "row", "expected"), [(2, 0b00011011, [0, 255, 170, 255]), (4, 0x05, [0, 255])])
def test_a_transparent_grey_of_few_bits_shows_white(tmp_path, depth, row, expected):
    transparent = chunk(b"tRNS", struct.pack(">H", {2: 1, 4: 5}[depth]))
    (tmp_path / "a.png").write_bytes(png(len(expected), 1, depth, 0, bytes([row]), transparent))
    np.testing.assert_array_equal(read_over_white(tmp_path / "a.png").pixels, grey_expected([expected]))


DEEP = [[0, 1, 256], [12345, 40000, 65535]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_greyscale_of_16_bits_keeps_them(tmp_path, suffix):
    Image.fromarray(np.array(DEEP, np.uint16)).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}").pixels, grey_expected(DEEP, 65535.0))


def test_greyscale_of_16_bits_with_a_transparent_value(tmp_path):
    rows = np.array(DEEP, ">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(3, 2, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 12345))))
    expected = [[0, 1, 256], [65535, 40000, 65535]]
    np.testing.assert_array_equal(read_over_white(tmp_path / "a.png").pixels, grey_expected(expected, 65535.0))


def test_big_endian_16_bits(tmp_path):
    entries = [(256, 3, 3), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 2), (279, 4, 12)]
    directory = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in entries
    )
    data = b"MM\0*" + struct.pack(">I", 20) + np.array(DEEP, ">u2").tobytes()
    (tmp_path / "a.tif").write_bytes(data + struct.pack(">H", len(entries)) + directory + bytes(4))
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, grey_expected(DEEP, 65535.0))


def test_mode_i_is_16_bits_unless_it_has_more():
    np.testing.assert_array_equal(read(Image.fromarray(np.array(DEEP, np.int32))).pixels, grey_expected(DEEP, 65535.0))
    assert "from 0 to 65536; expected 0 to 65535" in refusal(Image.fromarray(np.array([[0, 65536]], np.int32)))
    assert "from -1 to 5; expected 0 to 65535" in refusal(Image.fromarray(np.array([[-1, 5]], np.int32)))


def test_mode_f_is_0_to_1(tmp_path):
    Image.fromarray(np.array([[0, 0.25, 1]], np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, grey_expected([[0, 0.25, 1]], 1.0))
    assert "expected 0 to 1" in refusal(Image.fromarray(np.array([[0, 1.5]], np.float32)))
    assert "expected 0 to 1" in refusal(Image.fromarray(np.array([[0, np.nan]], np.float32)))


def deep_samples(channels):
    return np.random.default_rng(channels).integers(0, 65536, (5, 7, channels), dtype=np.uint16)


def shown(samples):
    """Return how samples of 16 bits (H, W, C), with straight alpha if C is 2 or 4, look on white."""
    parts = samples / 65535
    colour, alpha = (parts[..., :-1], parts[..., -1:]) if samples.shape[2] in (2, 4) else (parts, 1.0)
    return np.broadcast_to(1 - alpha * (1 - colour), (*samples.shape[:2], 3))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_a_png_of_16_bits_keeps_them(tmp_path, colour_type, channels):
    samples = deep_samples(channels)
    (tmp_path / "a.png").write_bytes(png(7, 5, 16, colour_type, samples.astype(">u2").tobytes()))
    reader = read_over_white if channels in (2, 4) else read
    np.testing.assert_allclose(reader(tmp_path / "a.png").pixels, shown(samples), rtol=0, atol=1e-15)


def test_pixels_of_16_bits_are_divided_once_in_float64(tmp_path):
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb = np.stack([samples, samples[::-1], samples.T], axis=-1)
    (tmp_path / "a.png").write_bytes(png(256, 256, 16, 2, rgb.astype(">u2").tobytes()))
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read(tmp_path / name).pixels, rgb.astype(np.float64) / 65535)


def test_rgb_of_16_bits_with_a_transparent_colour(tmp_path):
    samples = np.array([[[1, 2, 3], [1, 2, 4]]], ">u2")
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, samples.tobytes(), chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    np.testing.assert_array_equal(
        read_over_white(tmp_path / "a.png").pixels[0], [[1, 1, 1], np.array([1, 2, 4]) / 65535]
    )


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 2}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("kind", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_a_tiff_of_16_bits_keeps_them(tmp_path, compression, layout, kind):
    samples = deep_samples(3)
    stored = np.moveaxis(samples, -1, 0) if "planarconfig" in layout else samples
    predictor = compression in ("zlib", "lzw")
    with tifffile.TiffWriter(tmp_path / "a.tif", **kind) as tiff:
        tiff.write(stored, photometric="rgb", compression=compression, predictor=predictor, **layout)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, samples / 65535)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_a_grey_tiff_of_16_bits_keeps_them(tmp_path, photometric):
    samples = deep_samples(1)
    tifffile.imwrite(tmp_path / "a.tif", samples[..., 0], photometric=photometric)
    expected = samples / 65535 if photometric == "minisblack" else (65535 - samples) / 65535
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels, np.repeat(expected, 3, axis=2), rtol=0, atol=1e-15)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_alpha_of_a_tiff_of_16_bits(tmp_path, planar):
    samples = deep_samples(4)
    multiplied = np.rint(samples[..., :3] * (samples[..., 3:] / 65535))
    multiplied = np.concatenate([multiplied, samples[..., 3:]], axis=-1).astype(np.uint16)
    multiplied[0, 0] = 0  # nothing is shown, and nothing is divided by nothing
    multiplied[0, 1] = 65535, 65535, 65535, 20000  # more colour than there is of the pixel
    for name, stored in {"unassalpha": samples, "assocalpha": multiplied, "unspecified": samples}.items():
        stored = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
        extra = {"photometric": "rgb", "extrasamples": [name], "planarconfig": planar}
        tifffile.imwrite(tmp_path / f"{name}.tif", stored, **extra)
    np.testing.assert_allclose(read_over_white(tmp_path / "unassalpha.tif").pixels, shown(samples), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(read(tmp_path / "unspecified.tif").pixels, samples[..., :3] / 65535)
    pixels = read_over_white(tmp_path / "assocalpha.tif").pixels
    np.testing.assert_array_equal(pixels[0, :2], 1.0)
    np.testing.assert_allclose(pixels[1:], shown(samples)[1:], rtol=0, atol=0.5 / 65535 + 1e-15)


def test_other_colour_of_16_bits_is_read_as_8_with_a_warning(tmp_path):
    samples = np.array([[[0, 0, 0, 0], [0xFFFF, 0, 0, 0], [0, 0, 0, 0xFF80]]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="separated")
    picture, notes = read_with_notes(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels[0], [[1, 1, 1], [0, 1, 1], [0, 0, 0]])
    assert notes == ["a.tif: 16 bits a channel are read as 8"]


def test_a_pillow_image_has_8_bits_of_16(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, np.array([0x1234, 0x8081, 0xFFFF], ">u2").tobytes()))
    with Image.open(tmp_path / "a.png") as image:
        picture, notes = read_with_notes(image)
    np.testing.assert_array_equal(picture.pixels[0, 0], np.array([0x12, 0x80, 0xFF]) / 255)
    assert notes == ["image: 16 bits a channel are read as 8"]


def test_cmyk_without_profile():
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 51)]
    expected = [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [0.8, 0.8, 0.8]]
    for ink, colour in zip(inks, expected, strict=True):
        np.testing.assert_array_equal(read(Image.new("CMYK", (1, 1), ink)).pixels[0, 0], colour)


def test_cmyk_jpeg_as_adobe_inverts_it(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    np.testing.assert_allclose(read(tmp_path / "a.jpg").pixels[4, 4], [0, 1, 1], atol=2 / 255)


def test_cmyk_with_profile(tmp_path):
    image = Image.new("CMYK", (4, 1))
    image.putdata([(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)])
    image.save(tmp_path / "a.tif", icc_profile=odd_cmyk_profile())
    expected = [[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]]
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels[0], expected, atol=8 / 255)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_other_colour_modes(mode):
    np.testing.assert_allclose(read(Image.fromarray(COLOURS).convert(mode)).pixels, COLOURS / 255, atol=3 / 255)


def test_lab(tmp_path):
    image = Image.new("LAB", (2, 1))
    image.putdata([(137, 128, 128), (138, 209, 198)])  # L* 53.7: middle grey; L*a*b* 54, 81, 70 (D50): sRGB's red
    image.save(tmp_path / "a.tif")
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels[0], [[0.502] * 3, [1, 0, 0]], atol=8 / 255)


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_an_srgb_profile_changes_nothing(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png", icc_profile=srgb_profile())
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, image / 255.0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_profile_is_converted(tmp_path, suffix):
    Image.fromarray(COLOURS).save(tmp_path / f"a{suffix}", icc_profile=swapped_profile())
    np.testing.assert_allclose(read(tmp_path / f"a{suffix}").pixels, COLOURS[..., ::-1] / 255, atol=1.5 / 255)


def test_alpha_survives_the_profile(tmp_path):
    rgba = np.array([[[255, 0, 0, 128], [255, 0, 0, 255], [255, 0, 0, 0]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=swapped_profile())
    half = 1 - 128 / 255
    expected = [[half, half, 1], [0, 0, 1], [1, 1, 1]]
    np.testing.assert_allclose(read_over_white(tmp_path / "a.png").pixels[0], expected, atol=1.5 / 255)


def test_a_palette_takes_its_profile(tmp_path):
    palette_image().save(tmp_path / "a.png", icc_profile=swapped_profile())
    np.testing.assert_allclose(read(tmp_path / "a.png").pixels, [np.eye(3)[:, ::-1]], atol=1.5 / 255)


def srgb_encoded(linear):
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile(tmp_path, mode):
    values = np.array([[0, 10, 128, 255]], np.uint8)
    Image.fromarray(values).convert(mode).save(tmp_path / "a.png", icc_profile=linear_grey_profile())
    expected = grey_expected([[srgb_encoded(v / 255) for v in values[0]]], 1.0)
    np.testing.assert_allclose(read(tmp_path / "a.png").pixels, expected, atol=1.5 / 255)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_profile_at_16_bits(tmp_path, suffix):
    values = np.array([[0, 1, 100, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}", icc_profile=linear_grey_profile())
    expected = grey_expected([[srgb_encoded(v / 65535) for v in values[0]]], 1.0)
    np.testing.assert_allclose(read(tmp_path / f"a{suffix}").pixels, expected, rtol=0, atol=1 / 65535)
    pillow = Image.fromarray(values)
    pillow.info["icc_profile"] = linear_grey_profile()
    np.testing.assert_allclose(read(pillow).pixels, expected, rtol=0, atol=1 / 65535)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_profile_at_16_bits(tmp_path, channels):
    samples = deep_samples(channels)
    swapped = samples[..., [2, 1, 0, 3][:channels]]
    extra = {"photometric": "rgb", "extrasamples": ["unassalpha"][: channels - 3]}
    tifffile.imwrite(tmp_path / "a.tif", samples, iccprofile=swapped_profile(), **extra)
    iccp = chunk(b"iCCP", b"swapped\0\0" + zlib.compress(swapped_profile()))
    colour_type = {3: 2, 4: 6}[channels]
    (tmp_path / "a.png").write_bytes(png(7, 5, 16, colour_type, samples.astype(">u2").tobytes(), iccp))
    reader = read_over_white if channels == 4 else read
    for name in ("a.tif", "a.png"):
        np.testing.assert_allclose(reader(tmp_path / name).pixels, shown(swapped), rtol=0, atol=1.5 / 65535)


def test_an_srgb_profile_at_16_bits_changes_nothing(tmp_path):
    for channels, photometric in {1: "minisblack", 3: "rgb"}.items():
        samples = deep_samples(channels)
        tifffile.imwrite(tmp_path / "a.tif", samples.squeeze(), photometric=photometric, iccprofile=srgb_profile())
        np.testing.assert_allclose(read(tmp_path / "a.tif").pixels, shown(samples), rtol=0, atol=0.1 / 65535)


def test_greyscale_with_an_rgb_profile(tmp_path):
    Image.fromarray(np.array(GREY, np.uint8)).save(tmp_path / "a.png", icc_profile=srgb_profile())
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, grey_expected(GREY))


NO_PROFILES = {"text": b"no profile at all", "cut": srgb_profile()[:200], "grey for colour": linear_grey_profile()}


@pytest.mark.parametrize("profile", NO_PROFILES.values(), ids=NO_PROFILES)
def test_a_profile_that_makes_no_sense_is_ignored_with_a_warning(tmp_path, profile):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=profile)
    picture, notes = read_with_notes(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, COLOURS / 255.0)
    assert len(notes) == 1
    assert notes[0].startswith("a.png: its ICC profile is ignored: ")


@pytest.mark.parametrize("profile", NO_PROFILES.values(), ids=NO_PROFILES)
def test_a_profile_that_makes_no_sense_at_16_bits(tmp_path, profile):
    samples = deep_samples(3)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", iccprofile=profile)
    picture, notes = read_with_notes(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, samples / 65535)
    assert len(notes) == 1
    assert notes[0].startswith("a.tif: its ICC profile is ignored: ")


# --- orientation and animation ----------------------------------------------------------------------------------------

UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8)])
def test_orientation(tmp_path, orientation, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.array(UPRIGHT[1], dtype) * 40).save(path, exif=exif(orientation))
    expected = grey_expected(np.array(UPRIGHT[orientation]) * 40, np.iinfo(dtype).max)
    np.testing.assert_array_equal(read(path).pixels, expected)
    with path.open("rb") as file:  # from the bare path of such a TIFF, Pillow 13 itself makes nonsense
        np.testing.assert_array_equal(read(Image.open(file)).pixels, expected)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_colour_of_16_bits(tmp_path, orientation):
    stored = np.array(UPRIGHT[1], np.uint16)[..., None] * [1000, 2000, 3001]
    stored = stored.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    exif_chunk = chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    whole = png(3, 2, 16, 2, stored.astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(whole[:-12] + exif_chunk + whole[-12:])  # it may come after the pixels
    expected = np.array(UPRIGHT[orientation])[..., None] * [1000, 2000, 3001] / 65535
    for name in ("a.tif", "a.png"):
        np.testing.assert_array_equal(read(tmp_path / name).pixels, expected)


def test_orientation_of_a_jpeg(tmp_path):
    image = Image.new("L", (32, 16), 0)
    image.paste(255, (0, 0, 16, 16))  # the left half white; turned right, the top half
    image.save(tmp_path / "a.jpg", exif=exif(6))
    pixels = read(tmp_path / "a.jpg").pixels
    assert pixels.shape == (32, 16, 3)
    assert pixels[:15].min() > 0.9
    assert pixels[17:].max() < 0.1


def test_an_orientation_that_does_not_exist_is_none(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif(9))
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, COLOURS / 255)


def test_damaged_exif_is_no_reason_to_fail(tmp_path):
    damaged = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x09\x01\x12garbage")
    (tmp_path / "a.png").write_bytes(png(3, 2, 8, 2, COLOURS.tobytes(), damaged))
    picture, notes = read_with_notes(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, COLOURS / 255)
    assert notes
    assert all(note.startswith("a.png: ") for note in notes)


def test_exif_that_cannot_be_parsed_at_all(tmp_path):
    (tmp_path / "a.png").write_bytes(png(3, 2, 8, 2, COLOURS.tobytes(), chunk(b"eXIf", b"not EXIF")))
    picture, notes = read_with_notes(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, COLOURS / 255)
    assert len(notes) == 1
    assert notes[0].startswith("a.png: its EXIF data is ignored: ")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    if suffix == ".webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    picture, notes = read_with_notes(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to([1.0, 0.0, 0.0], (8, 8, 3)))
    assert notes == [f"a{suffix}: is animated, or holds several images; number 1 is used"]


def test_a_pillow_image_keeps_its_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        picture, notes = read_with_notes(image)
        assert image.tell() == 1
    np.testing.assert_array_equal(picture.pixels[0, 0], [0, 0, 1])
    assert notes == ["image: is animated, or holds several images; number 2 is used"]


def test_warnings_go_to_the_warnings_module_unless_told_otherwise(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=b"nonsense")
    with pytest.warns(UserWarning, match=r"^a\.png: its ICC profile is ignored") as caught:
        images.read(tmp_path / "a.png")
    assert len(caught) == 1


# --- from memory ------------------------------------------------------------------------------------------------------


ACCEPTED_ARRAYS = (
    "accepted: uint8, uint16 or floating point in [0, 1], of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays(dtype, shape):
    dtype = np.dtype(dtype)
    random = np.random.default_rng(0).random(shape)
    top = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    array = (random * top).astype(dtype)
    before = array.copy()
    array.setflags(write=False)
    picture = (read_over_white if shape[2:] == (4,) else read)(array)
    values = before.astype(np.float64) / top
    if values.ndim == 2 or shape[2] == 1:
        expected = np.dstack([values] * 3)
    elif shape[2] == 4:
        expected = 1 - values[..., 3:] * (1 - values[..., :3])
    else:
        expected = values
    assert picture.name == "array"
    assert picture.pixels.dtype == np.float64
    np.testing.assert_allclose(picture.pixels, expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(array, before)


def test_a_picture_does_not_share_the_arrays_memory():
    array = np.full((2, 2, 3), 0.5)
    pixels = read(array).pixels
    array[:] = 0
    assert (pixels == 0.5).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.int64), np.zeros((2, 2), bool), np.zeros((2, 2), np.uint32), np.zeros(4),
        np.zeros((2, 2, 2)),
        np.full((2, 2), 1.01), np.full((2, 2), -0.01),
        np.full((2, 2), np.nan), np.full((2, 2), np.inf),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(array):
    message = refusal(array)
    assert message.startswith(f"array: received '{array.dtype} ")
    assert message.endswith(ACCEPTED_ARRAYS)


@pytest.mark.parametrize(
    ("array", "way_on"),
    [
        (np.zeros((3, 20, 30)), "; numpy.moveaxis(numpy.asarray(array), 0, -1) puts channels last"),
        (np.zeros((1, 20, 30)), "; numpy.moveaxis(numpy.asarray(array), 0, -1) puts channels last"),
        (np.zeros((2, 20, 30, 3)), "; of a batch, one image at a time"),
        (np.zeros((20, 30, 2)), ""),
        (np.zeros((3, 20, 3), int), ""),
    ],
)
def test_an_array_of_another_layout_is_told_the_way_on(array, way_on):
    message = refusal(array)
    assert message == f"array: received '{array.dtype} of shape {array.shape}'; {ACCEPTED_ARRAYS}{way_on}"


class Tensor:
    """What NumPy reads as an array, as the frameworks' own are."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise TypeError("it is on a GPU")
        return self.array


def test_what_numpy_reads_as_an_array_is_one():
    picture = read(Tensor(COLOURS))
    assert (picture.name, picture.sha256) == ("array", read(COLOURS).sha256)
    np.testing.assert_array_equal(picture.pixels, COLOURS / 255)
    assert refusal(Tensor(None)) == "array: NumPy cannot read the Tensor: it is on a GPU"


def test_a_pillow_image_is_not_changed():
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    image.info["icc_profile"] = swapped_profile()
    image.getexif()[0x0112] = 6
    before, exif_before, info = image.tobytes(), image.getexif().tobytes(), dict(image.info)
    assert read_over_white(image).name == "image"
    assert (image.tobytes(), image.getexif().tobytes(), image.info) == (before, exif_before, info)


def test_the_hash_of_a_picture_from_memory():
    flat, tall = np.zeros((2, 8, 3)), np.zeros((8, 2, 3))
    assert read(flat).sha256 == hashlib.sha256(b"(2, 8, 3)" + bytes(2 * 8 * 3 * 8)).hexdigest()
    assert read(flat).sha256 != read(tall).sha256  # the same bytes, another shape
    assert read(Image.fromarray(COLOURS)).sha256 == read(COLOURS).sha256
    assert read(COLOURS).sha256 != read(COLOURS[..., ::-1]).sha256


@pytest.mark.parametrize("source", [None, 3, [[0, 0]], b"photo.jpg", io.BytesIO(b"")])
def test_other_sources_are_refused(source):
    assert refusal(source).endswith("accepted: a path, a Pillow image, an array")


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_missing(tmp_path):
    assert refusal(tmp_path / "no.png") == f"{tmp_path / 'no.png'}: no such file"


def test_a_directory(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: is a directory, not an image"


def test_a_folder_that_may_not_be_opened_as_a_file_is_still_one(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")  # as Windows has it

    monkeypatch.setattr(reading, "open", refuse, raising=False)
    assert refusal(tmp_path) == f"{tmp_path}: is a directory, not an image"
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: cannot be read: Permission denied"


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read: Not a directory" in refusal(tmp_path / "file" / "a.png")


def test_not_an_image(tmp_path):
    (tmp_path / "a.png").write_text("not an image, whatever its name says" * 9)
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: is not an image of a known format"


@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", False), ("<", True), (">", True)])
def test_a_tiff_of_samples_that_are_not_read(tmp_path, byteorder, bigtiff):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.float64), byteorder=byteorder, bigtiff=bigtiff, photometric="rgb")
    assert refusal(path).startswith(f"{path}: expected a TIFF of 8 or 16 bits a channel, received one of another kind")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: the file is empty"


def test_a_name_no_file_can_have():
    assert "null" in refusal("a\0.png")
    assert "File name too long" in refusal("a" * 5000)


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(reading, "open", refuse, raising=False)  # root may read everything
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: cannot be read: Permission denied"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_truncated(tmp_path, suffix, fraction):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    assert refusal(path).startswith(f"{path}: is truncated or damaged: ")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_truncated_at_16_bits(tmp_path, suffix, fraction):
    path = tmp_path / f"a{suffix}"
    images.write(path, np.random.default_rng(0).random((64, 64, 3)), bits=16)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    assert refusal(path).startswith(f"{path}: is truncated or damaged: ")


def test_a_truncated_tiff_of_16_bits_that_is_not_compressed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint16), photometric="rgb")
    path.write_bytes(path.read_bytes()[:-9000])
    assert refusal(path).startswith(f"{path}: is truncated or damaged: ")


def test_damaged(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    assert "a.png: is truncated or damaged: " in refusal(tmp_path / "a.png")


def test_any_failure_of_a_decoder_is_one_line(monkeypatch):
    image = Image.fromarray(COLOURS)
    monkeypatch.setattr(image, "load", lambda: [][1])
    assert refusal(image) == "image: is truncated or damaged: list index out of range"
    monkeypatch.setattr(image, "load", lambda: (_ for _ in ()).throw(MemoryError))
    assert refusal(image) == "image: does not fit in memory"


def test_no_pixels(tmp_path):
    assert refusal(np.zeros((0, 5, 3))) == "array: 5 x 0 px: it has no pixels"
    assert refusal(Image.new("RGB", (0, 5))) == "image: 0 x 5 px: it has no pixels"
    (tmp_path / "a.png").write_bytes(png(0, 5, 8, 2))
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path / 'a.png'}: ")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 15_001, 8, 2))  # a header alone: decoding it would say that it is truncated
    assert refusal(path) == f"{path}: has more than 300 million pixels; --allow-large reads it all the same"


def test_the_limit_is_ours_and_exact(tmp_path, monkeypatch):
    for height in (10, 11):
        Image.new("RGB", (10, height), (255, 0, 0)).save(tmp_path / f"{height}.png")
    with monkeypatch.context() as patch:
        patch.setattr(reading, "LARGEST", 100)
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # Pillow's own would refuse all of these
        assert read(tmp_path / "10.png").pixels.shape == (10, 10, 3)
        assert "--allow-large" in refusal(tmp_path / "11.png")
        assert read(tmp_path / "11.png", allow_large=True).pixels.shape == (11, 10, 3)
        assert "--allow-large" in refusal(Image.new("RGB", (10, 11)))
        assert read(Image.new("RGB", (10, 11)), allow_large=True).pixels.shape == (11, 10, 3)
        assert Image.MAX_IMAGE_PIXELS == 5


def test_threads_leave_pillows_limit_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / "a.png")
    shapes = []
    threads = [
        threading.Thread(target=lambda: shapes.append(read(tmp_path / "a.png", allow_large=True).pixels.shape))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == [(300, 300, 3)] * 8
    assert before == Image.MAX_IMAGE_PIXELS


# --- resampling -------------------------------------------------------------------------------------------------------


def lanczos_matrix(source, target):
    """Return the weights (target, source) of a Lanczos filter of three lobes, widened when it shrinks."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * source / target
    x = (np.arange(source) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), [(7, 9), (40, 31), (20, 9), (1, 1)])
def test_resample_is_lanczos(dtype, height, width):
    image = np.random.default_rng(0).random((20, 30, 3)).astype(dtype)
    before = image.copy()
    got = images.resample(image, width, height)
    rows, columns = lanczos_matrix(20, height), lanczos_matrix(30, width)
    assert got.dtype == dtype
    assert got.shape == (height, width, 3)
    np.testing.assert_allclose(got, np.einsum("ai,bj,ijc->abc", rows, columns, image), atol=2e-6)
    np.testing.assert_array_equal(image, before)


def test_resample_does_nothing_at_the_right_size():
    image = np.random.default_rng(0).random((4, 5, 3))
    assert images.resample(image, 5, 4) is image


def test_resample_takes_views():
    image = np.random.default_rng(0).random((9, 8, 3))
    np.testing.assert_array_equal(
        images.resample(image[::-1, ::-1, ::-1], 5, 4), images.resample(image[::-1, ::-1, ::-1].copy(), 5, 4)
    )


def test_lanczos_overshoots_and_fitted_clips():
    step = np.zeros((8, 8, 3))
    step[:, 4:] = 1.0
    raw = images.resample(step, 16, 16)
    assert raw.min() < -0.01
    assert raw.max() > 1.01
    fitted = images.fitted(step, 16, 16)
    assert fitted.dtype == np.float64
    np.testing.assert_array_equal(fitted, np.clip(raw, 0, 1))
    np.testing.assert_array_equal(images.fitted(step, 8, 8), step)


# --- writing ----------------------------------------------------------------------------------------------------------

RECORD = {
    "nst": "0.1",
    "seed": 3,
    "recipe": {"name": "gatys", "alpha": 1e-3},
    "content": "vélo 自転車.jpg",
    "losses": [1.5, 0.25],
}


def flat(value=0.5):
    return np.full((4, 6, 3), value)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_pixels_are_clipped_and_rounded_half_to_even():
    image = np.array([[[-1.0, 2.0, 0.5], [0.25 / 255, 0.75 / 255, 254.4 / 255]]])
    assert images.to_uint8(image).tolist() == [[[0, 255, 128], [0, 1, 254]]]  # 127.5 -> 128
    halves = np.array([0.5, 1.5, 2.5, 3.5]) / 255
    assert (halves * 255).tolist() == [0.5, 1.5, 2.5, 3.5]
    assert images.to_uint8(halves).tolist() == [0, 2, 2, 4]
    assert images.to_uint8(np.float32([1.0])).dtype == np.uint8


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".PNG"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_is_read_again(tmp_path, suffix, dtype):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) / 255.0
    images.write(tmp_path / f"out{suffix}", image.astype(dtype))
    np.testing.assert_array_equal(read(tmp_path / f"out{suffix}").pixels, image)
    assert names(tmp_path) == [f"out{suffix}"]


def test_pixels_are_rounded_to_16_bits():
    image = np.array([[[-1.0, 2.0, 0.5], [0.25 / 65535, 0.75 / 65535, 65534.4 / 65535]]])
    assert images.to_uint16(image).tolist() == [[[0, 65535, 32768], [0, 1, 65534]]]  # 32767.5 -> 32768


def test_large_images_are_rounded_like_small_ones():
    image = np.random.default_rng(0).random((1030, 3, 3), np.float32)
    np.testing.assert_array_equal(images.to_uint16(image), np.round(image.astype(np.float64) * 65535))


DEEP_SUFFIXES = [".png", ".tif", ".tiff"]


@pytest.mark.parametrize("suffix", DEEP_SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_with_16_bits_is_read_again(tmp_path, suffix, dtype):
    samples = np.random.default_rng(0).integers(0, 65536, (20, 30, 3))
    images.write(tmp_path / f"out{suffix}", (samples / 65535).astype(dtype), RECORD, bits=16)
    np.testing.assert_array_equal(read(tmp_path / f"out{suffix}").pixels, samples / 65535)
    assert images.read_record(tmp_path / f"out{suffix}") == RECORD
    assert names(tmp_path) == [f"out{suffix}"]


def test_a_png_of_16_bits_in_its_bytes(tmp_path):
    samples = np.random.default_rng(0).integers(0, 65536, (1, 30, 3))
    images.write(tmp_path / "out.png", samples / 65535, RECORD, bits=16)
    chunks = png_chunks((tmp_path / "out.png").read_bytes())
    assert {kind for kind, _ in chunks} == {b"IHDR", b"sRGB", b"iTXt", b"IDAT", b"IEND"}
    assert dict(chunks)[b"IHDR"] == struct.pack(">IIBBBBB", 30, 1, 16, 2, 0, 0, 0)
    row = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    assert len(row) == 1 + 30 * 6
    with Image.open(tmp_path / "out.png") as image:  # Pillow checks every chunk's sum, and keeps the high bytes
        np.testing.assert_array_equal(np.asarray(image), samples >> 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_small_tiff(tmp_path, bits):
    image = np.random.default_rng(0).random((20, 30, 3))
    images.write(tmp_path / "out.tif", image, bits=bits)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        page = tiff.pages.first
        assert (tiff.is_bigtiff, page.is_tiled, page.bitspersample) == (False, False, bits)
        assert (page.compression.name, page.photometric.name) == ("ADOBE_DEFLATE", "RGB")
        np.testing.assert_array_equal(page.asarray(), np.round(image * (2**bits - 1)))


def test_the_description_of_a_tiff_is_ascii(tmp_path):
    images.write(tmp_path / "out.tif", flat(), RECORD)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        description = tiff.pages.first.description
    assert description.isascii()
    assert json.loads(description) == {"nst": RECORD}


@pytest.mark.parametrize("description", ["a holiday", '{"shape": [4, 6, 3]}', '{"nst'])
def test_a_description_that_is_no_record(tmp_path, description):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 6, 3), np.uint8), photometric="rgb", description=description)
    with pytest.raises(NstError, match=r"a\.tif: carries no record of a run, and there is no a\.tif\.json beside it"):
        images.read_record(tmp_path / "a.tif")
    (tmp_path / "a.tif.json").write_text('{"nst": "0.1", "seed": 4}')
    assert images.read_record(tmp_path / "a.tif") == {"nst": "0.1", "seed": 4}


@pytest.fixture
def large(monkeypatch):
    """Lower the limits, and return a picture that is just above the one of pixels."""
    monkeypatch.setattr(writing, "LARGE", 599 * 700)
    monkeypatch.setattr(writing, "PREVIEW_EDGE", 70)
    y, x = np.mgrid[0:600, 0:700]
    return np.stack([x / 699, y / 599, (x + y) / 1298], axis=-1).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_large_tiff_is_tiled_and_has_a_preview(tmp_path, large, bits):
    images.write(tmp_path / "out.tif", large, RECORD, bits=bits)
    assert names(tmp_path) == ["out-preview.jpg", "out.tif"]
    assert images.preview_path(tmp_path / "out.tif", 700, 600) == tmp_path / "out-preview.jpg"
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.pages.first.is_tiled
        assert tiff.pages.first.bitspersample == bits
    top = 2**bits - 1
    np.testing.assert_array_equal(read(tmp_path / "out.tif").pixels, np.round(large.astype(np.float64) * top) / top)
    assert images.read_record(tmp_path / "out.tif") == RECORD
    with Image.open(tmp_path / "out-preview.jpg") as preview:
        assert (preview.size, preview.mode) == ((70, 60), "RGB")
    preview = read(tmp_path / "out-preview.jpg").pixels
    np.testing.assert_allclose(preview, large.reshape(60, 10, 70, 10, 3).mean(axis=(1, 3)), rtol=0, atol=6 / 255)


def test_the_preview_of_a_strip(tmp_path, large):
    images.write(tmp_path / "out.tif", np.tile(large[:1], (1, 900, 1)))
    assert read(tmp_path / "out-preview.jpg").pixels.shape == (1, 70, 3)


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
def test_other_large_pictures_have_no_preview(tmp_path, large, name):
    images.write(tmp_path / name, large)
    assert images.preview_path(tmp_path / name, 700, 600) is None
    assert names(tmp_path) == [name]


def test_a_tiff_at_the_limit_has_no_preview(tmp_path, large):
    images.write(tmp_path / "out.tif", large[:599])
    assert images.preview_path(tmp_path / "out.tif", 700, 599) is None
    assert names(tmp_path) == ["out.tif"]


@pytest.mark.parametrize("is_large", [False, True])
def test_a_tiff_that_may_pass_4_gib_is_a_bigtiff(tmp_path, monkeypatch, large, is_large):
    image = large if is_large else large[:599]
    for bits, bytes_of_pixels in ((8, image.size), (16, 2 * image.size)):
        for limit in (bytes_of_pixels - 1, bytes_of_pixels):
            monkeypatch.setattr(encoding, "CLASSIC_TIFF", limit)
            images.write(tmp_path / "out.tif", image, RECORD, bits=bits, force=True)
            with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
                assert tiff.is_bigtiff == (limit < bytes_of_pixels)
            assert images.read_record(tmp_path / "out.tif") == RECORD
            assert read(tmp_path / "out.tif").pixels.shape == image.shape


def test_a_large_tiff_is_rounded_row_of_tiles_by_row_of_tiles(tmp_path, monkeypatch, large):
    heights = []
    monkeypatch.setitem(encoding.DEPTHS, 16, lambda part: heights.append(len(part)) or images.to_uint16(part))
    images.write(tmp_path / "out.tif", large, bits=16)
    assert sum(heights) == 600
    assert max(heights) < 600


def test_no_preview_is_overwritten_without_force(tmp_path, large):
    (tmp_path / "out-preview.jpg").write_bytes(b"precious")
    with pytest.raises(NstError, match=r"out-preview\.jpg: exists already; --force"):
        images.check_fits(tmp_path / "out.tif", 700, 600, force=False)
    with pytest.raises(NstError, match=r"out-preview\.jpg: exists already; --force"):
        images.write(tmp_path / "out.tif", large)
    assert names(tmp_path) == ["out-preview.jpg"]
    for name, height in (("out.png", 600), ("small.tif", 599)):  # which have none
        images.check_fits(tmp_path / name, 700, height, force=False)
    images.write(tmp_path / "out.tif", large[:599])
    images.write(tmp_path / "out.tif", large, force=True)
    assert read(tmp_path / "out-preview.jpg").pixels.shape == (60, 70, 3)


@pytest.mark.parametrize("at_call", [1, 2])
def test_a_full_disk_leaves_neither_preview_nor_tiff(tmp_path, monkeypatch, large, at_call):
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC, at_call))
    with pytest.raises(NstError, match=r"out\.tif: cannot be written: No space left on device"):
        images.write(tmp_path / "out.tif", large, RECORD, bits=16)
    assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_other_formats_have_8_bits(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    expected = re.escape(f"out{suffix}: bits a channel (16 need a PNG or TIFF): received 16; accepted: 8") + "$"
    with pytest.raises(NstError, match=expected):
        images.check_writable(path, bits=16, force=False)
    with pytest.raises(NstError, match=expected):
        images.write(path, flat(), bits=16)
    assert (images.most_bits(path), images.most_bits("out.png"), images.most_bits("out.tiff")) == (8, 16, 16)
    assert names(tmp_path) == []


@pytest.mark.parametrize("bits", [0, 10, 32])
def test_other_depths_are_refused(tmp_path, bits):
    with pytest.raises(NstError, match=rf"received {bits}; accepted: 8, 16$"):
        images.check_writable(tmp_path / "out.png", bits=bits, force=False)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_quality(tmp_path, suffix):
    images.write(tmp_path / f"out{suffix}", flat())
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.format == "JPEG"
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        assert image.quantization[0][0] == 2  # libjpeg's 16, scaled by (200 - 2 * 95) %, rounded
    np.testing.assert_allclose(read(tmp_path / f"out{suffix}").pixels, 128 / 255, atol=1.5 / 255)


def test_png_says_srgb_and_carries_the_record(tmp_path):
    images.write(tmp_path / "out.png", flat(), RECORD)
    chunks = dict(png_chunks((tmp_path / "out.png").read_bytes()))
    assert chunks[b"sRGB"] == b"\0"
    assert set(chunks) == {b"IHDR", b"sRGB", b"iTXt", b"IDAT", b"IEND"}
    keyword, text = chunks[b"iTXt"].split(b"\0\0\0\0\0")  # not compressed, no language, no translated keyword
    assert keyword == b"nst"
    assert text.decode("utf-8") == json.dumps(RECORD, sort_keys=True, ensure_ascii=False)
    assert list(json.loads(text)) == sorted(RECORD)
    assert images.read_record(tmp_path / "out.png") == RECORD
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_writing_twice_gives_the_same_bytes(tmp_path, suffix, bits):
    for name in ("a", "b"):
        images.write(tmp_path / f"{name}{suffix}", flat(), RECORD, bits=bits)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_other_formats_have_a_sidecar(tmp_path):
    images.write(tmp_path / "out.jpg", flat(), RECORD)
    assert names(tmp_path) == ["out.jpg", "out.jpg.json"]
    assert json.loads((tmp_path / "out.jpg.json").read_text(encoding="utf-8")) == RECORD
    assert images.read_record(tmp_path / "out.jpg") == RECORD
    images.write(tmp_path / "out.tif", flat())
    assert names(tmp_path) == ["out.jpg", "out.jpg.json", "out.tif"]


def test_records_hold_numpy_numbers_long_histories_and_odd_names(tmp_path):
    record = {
        "nst": "0.1",
        "loss": np.float32(0.5),
        "n": np.int64(3),
        "history": np.arange(300_000.0),
        "file": "a\udcff.png",
    }
    for name in ("out.png", "out.jpg", "out.tif"):
        images.write(tmp_path / name, flat(), record)
        got = images.read_record(tmp_path / name)
        assert (got["loss"], got["n"], got["file"]) == (0.5, 3, "a\udcff.png")
        assert got["history"] == list(range(300_000))


def test_no_record(tmp_path):
    images.write(tmp_path / "out.png", flat())
    with pytest.raises(
        NstError, match=r"out\.png: carries no record of a run, and there is no out\.png\.json beside it"
    ):
        images.read_record(tmp_path / "out.png")
    with pytest.raises(NstError, match=r"no\.png: no such file"):
        images.read_record(tmp_path / "no.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(NstError, match="is not an image"):
        images.read_record(tmp_path / "text.png")


@pytest.mark.parametrize("text", [b"{", b"[1]", b'{"total": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_record_that_cannot_be_read(tmp_path, text):
    images.write(tmp_path / "out.jpg", flat())
    (tmp_path / "out.jpg.json").write_bytes(text)
    with pytest.raises(NstError, match=r"out\.jpg: its record cannot be read: [^\n]+$"):
        images.read_record(tmp_path / "out.jpg")


def test_what_lies_beside_a_picture_may_be_no_record(tmp_path):
    images.write(tmp_path / "out.jpg", flat())
    (tmp_path / "out.jpg.json").write_text('{"title": "out.jpg", "creationTime": {"timestamp": "1700000000"}}')
    with pytest.raises(NstError, match=r"out\.jpg: carries no record of a run, and out\.jpg\.json beside it is none$"):
        images.read_record(tmp_path / "out.jpg")


@pytest.mark.parametrize(("width", "height"), [(6, 5), (4, 6)])
def test_a_record_of_a_picture_of_another_width_or_height_is_refused(tmp_path, width, height):
    images.write(tmp_path / "out.png", np.zeros((5, 4, 3)), {"width": width, "height": height})
    with pytest.raises(NstError, match=f"another picture's, which had {width} x {height} px; this one has 4 x 5 px"):
        images.read_record(tmp_path / "out.png")


def test_a_picture_appears_after_its_record(tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr(writing, "publish", lambda files, force: published.extend(files))
    images.write(tmp_path / "out.jpg", flat(), RECORD)
    assert [path.name for path in published] == ["out.jpg.json", "out.jpg"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        images.write(tmp_path / "out.jpg", flat(), RECORD)
    finally:
        os.umask(before)
    for name in ("out.jpg", "out.jpg.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def check_both_refuse(path, match, *, force=False):
    """Check that check_writable and write refuse with the same one line, and that nothing is left behind."""
    before = {file: file.read_bytes() for file in path.parent.glob("*") if file.is_file()}
    with pytest.raises(NstError, match=match) as early:
        images.check_writable(path, force=force)
    with pytest.raises(NstError, match=match) as late:
        images.write(path, flat(), RECORD, force=force)
    assert str(early.value) == str(late.value)
    assert "\n" not in str(early.value)
    assert before == {file: file.read_bytes() for file in path.parent.glob("*") if file.is_file()}


@pytest.mark.parametrize("suffix", ["", ".txt", ".gif", ".jp2"])
def test_the_suffix_must_be_one_that_is_written(tmp_path, suffix):
    check_both_refuse(tmp_path / f"out{suffix}", r"suffix: received .*; accepted: \.png, \.jpg, \.jpeg, .*\.bmp")


def test_a_suffix_that_this_pillow_cannot_write(tmp_path, monkeypatch):
    monkeypatch.delitem(Image.SAVE, "WEBP")
    check_both_refuse(
        tmp_path / "out.webp", r"received '\.webp'; accepted: \.png, \.jpg, \.jpeg, \.tif, \.tiff, \.bmp$"
    )


def test_the_folder_must_be_there(tmp_path):
    check_both_refuse(tmp_path / "no" / "out.png", r"out\.png: the folder .*no does not exist")
    (tmp_path / "file").write_bytes(b"x")
    check_both_refuse(tmp_path / "file" / "out.png", r"out\.png: .*file is not a folder")


def test_the_folder_must_be_writable(tmp_path, monkeypatch):
    def refuse(path, mode):  # root may write everywhere
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "open", refuse, raising=False)
    check_both_refuse(tmp_path / "out.png", r"out\.png: the folder .* cannot be written to: Permission denied")


def test_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images.check_writable("out.png", force=False)
    images.write("out.png", flat())
    assert names(tmp_path) == ["out.png"]


def test_the_target_must_not_be_a_directory(tmp_path):
    (tmp_path / "out.png").mkdir()
    check_both_refuse(tmp_path / "out.png", r"out\.png: is a directory", force=True)


def test_a_name_that_is_too_long(tmp_path):
    check_both_refuse(tmp_path / ("a" * 300 + ".png"), "cannot be written: File name too long")


def test_nothing_is_overwritten_without_force(tmp_path):
    (tmp_path / "out.png").write_bytes(b"precious")
    check_both_refuse(tmp_path / "out.png", r"out\.png: exists already; --force")
    images.check_writable(tmp_path / "out.png", force=True)
    images.write(tmp_path / "out.png", flat(), RECORD, force=True)
    assert images.read_record(tmp_path / "out.png") == RECORD
    assert names(tmp_path) == ["out.png"]


def test_no_sidecar_is_overwritten_without_force(tmp_path):
    (tmp_path / "out.jpg.json").write_bytes(b"precious")
    check_both_refuse(tmp_path / "out.jpg", r"out\.jpg\.json: exists already; --force")
    images.write(tmp_path / "out.jpg", flat(), RECORD, force=True)
    assert images.read_record(tmp_path / "out.jpg") == RECORD


def test_a_record_that_is_carried_inside_needs_nothing_beside_it(tmp_path):
    for name in ("out.png", "out.tif"):
        (tmp_path / f"{name}.json").write_bytes(b"precious")
        images.write(tmp_path / name, flat(), RECORD)
        assert images.read_record(tmp_path / name) == RECORD
        assert (tmp_path / f"{name}.json").read_bytes() == b"precious"


@pytest.mark.parametrize(("suffix", "longest"), [(".webp", 16383), (".jpg", 65500)])
def test_a_side_too_long_for_its_format(tmp_path, suffix, longest):
    image = np.full((1, longest, 3), 0.5)
    images.write(tmp_path / f"longest{suffix}", image)
    assert Image.open(tmp_path / f"longest{suffix}").size == (longest, 1)
    with pytest.raises(NstError, match=rf"out\{suffix}: {longest + 1} x 1 px, but .* PNG and TIFF take more"):
        images.write(tmp_path / f"out{suffix}", np.pad(image, ((0, 0), (0, 1), (0, 0))))
    assert names(tmp_path) == [f"longest{suffix}"]
    images.check_fits("out.png", longest + 1, 1, force=False)
    with pytest.raises(NstError, match=f"1 x {longest + 1} px"):
        images.check_fits(f"out{suffix}", 1, longest + 1, force=False)


@pytest.mark.parametrize("at_call", [1, 2])
def test_what_replaces_older_files_never_leaves_fewer(tmp_path, monkeypatch, at_call):
    images.write(tmp_path / "out.jpg", flat(), {"nst_version": "old"})
    before = names(tmp_path)
    monkeypatch.setattr(os, "replace", fail_with(errno.EIO, at_call))
    with pytest.raises(NstError, match="cannot be written"):
        images.write(tmp_path / "out.jpg", flat(), RECORD, force=True)
    assert names(tmp_path) == before


def test_the_record_of_a_picture_of_any_size_is_read(tmp_path, monkeypatch):
    images.write(tmp_path / "out.png", np.full((9, 9, 3), 0.5), RECORD)
    monkeypatch.setattr(reading, "LARGEST", 10)
    assert images.read_record(tmp_path / "out.png") == RECORD


def test_a_dangling_link_is_a_file_too(tmp_path):
    (tmp_path / "out.png").symlink_to(tmp_path / "gone.png")
    check_both_refuse(tmp_path / "out.png", "exists already")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("appearing", ["out.jpg", "out.jpg.json"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, links, appearing):
    monkeypatch.setattr(writing, "check_writable", lambda *_, **__: None)  # it looked before the file appeared
    if not links:
        monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    (tmp_path / appearing).write_bytes(b"precious")
    with pytest.raises(NstError, match=r"out\.jpg: cannot be written: "):
        images.write(tmp_path / "out.jpg", flat(), RECORD)
    assert names(tmp_path) == [appearing]
    assert (tmp_path / appearing).read_bytes() == b"precious"


def test_a_file_system_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    images.write(tmp_path / "out.jpg", flat(), RECORD)
    assert images.read_record(tmp_path / "out.jpg") == RECORD
    assert names(tmp_path) == ["out.jpg", "out.jpg.json"]


def fail_with(number, at_call=1):
    calls = []

    def fail(*_args, **_options):
        calls.append(None)
        if len(calls) >= at_call:
            raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("name", "at_call"), [("out.png", 1), ("out.jpg", 1), ("out.jpg", 2)])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, name, at_call, force):
    (tmp_path / "other.txt").write_text("other")
    if force:
        (tmp_path / name).write_bytes(b"old")
    before = names(tmp_path)
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC, at_call))
    with pytest.raises(NstError) as caught:
        images.write(tmp_path / name, flat(), RECORD, force=force)
    assert str(caught.value) == f"{tmp_path / name}: cannot be written: No space left on device"
    assert names(tmp_path) == before
    assert not force or (tmp_path / name).read_bytes() == b"old"


@pytest.mark.parametrize(("name", "bits"), [("out.png", 8), ("out.png", 16), ("out.tif", 16)])
def test_a_write_that_the_system_stops_leaves_nothing(tmp_path, name, bits):
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    image = np.random.default_rng(0).random((64, 64, 3))  # 12 kB, incompressible
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(NstError, match=rf"{re.escape(name)}: cannot be written: File too large"):
            images.write(tmp_path / name, image, bits=bits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.write(tmp_path / "out.jpg", flat(), RECORD)
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_not_written(tmp_path, value):
    image = flat()
    image[1, 2, 0] = value
    with pytest.raises(NstError, match=r"out\.png: not written: the image holds values that are not finite"):
        images.write(tmp_path / "out.png", image)
    assert names(tmp_path) == []
