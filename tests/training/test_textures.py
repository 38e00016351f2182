import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from training import sheet
from training.textures import FAMILIES, scene, texture
from training.textures.kit import Kit
from training.textures.palette import sample_palette


def look(picture):
    """Describe a picture's colours and its detail at three scales: what a crop shares with its texture."""
    grey = picture.mean(axis=-1)
    bands = [grey - ndimage.gaussian_filter(grey, 1)]
    bands += [ndimage.gaussian_filter(grey, s) - ndimage.gaussian_filter(grey, 2 * s) for s in (1, 2)]
    slopes = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]
    colours = [*picture.mean(axis=(0, 1)), *picture.std(axis=(0, 1))]
    return np.array([*colours, *(3 * band.std() for band in bands), *(3 * slope for slope in slopes)])


def halves(picture):
    """Return the looks of the upper and the lower half."""
    middle = len(picture) // 2
    return look(picture[:middle]), look(picture[middle:])


def apart(first, second):
    return np.linalg.norm(first - second)


@pytest.fixture(scope="module")
def textures():
    return [texture(seed, 128) for seed in range(100, 140)]


@pytest.mark.parametrize("make", [texture, scene])
def test_a_seed_is_one_picture(make):
    assert np.array_equal(make(7, 65), make(7, 65))
    assert not np.array_equal(make(7, 65), make(8, 65))


@pytest.mark.parametrize("make", [texture, scene])
def test_nothing_global_is_drawn_from(make):
    first = make(3, 48)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    assert np.array_equal(make(3, 48), first)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_varies_within_range(family):
    pictures = [texture(seed, 75, family) for seed in (1, 2)]
    for picture in pictures:
        assert picture.shape == (75, 75, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.mean(axis=-1).std() > 0.02
    assert apart(*map(look, pictures)) > 0.05


@pytest.mark.parametrize("size", [33, 64, 101])
def test_scenes_at_odd_sizes(size):
    for seed in range(4):
        picture = scene(seed, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.mean(axis=-1).std() > 0.04


def test_every_family_says_what_it_imitates():
    assert all(family.__doc__.startswith("Imitate ") for family in FAMILIES.values())


def test_seeds_reach_every_family(monkeypatch):
    seen = set()
    for name in FAMILIES:
        monkeypatch.setitem(FAMILIES, name, lambda kit, name=name: seen.add(name) or np.zeros((kit.size, kit.size, 3)))
    for seed in range(600):
        texture(seed, 8)
    assert seen == set(FAMILIES)


def test_halves_are_more_alike_than_textures(textures):
    upper, lower = zip(*map(halves, textures), strict=True)
    within = [apart(*pair) for pair in zip(upper, lower, strict=True)]
    between = [apart(upper[i], lower[i - 1]) for i in range(len(textures))]
    assert np.mean(within) < 0.3 * np.mean(between)


def test_a_crop_is_known_by_its_look(textures):
    crops = np.array([[look(t[:64, :64]), look(t[64:, 64:])] for t in textures])
    nearest = [np.argmin(np.linalg.norm(crops[:, 1] - crop, axis=1)) for crop in crops[:, 0]]
    assert np.mean(np.arange(len(textures)) == nearest) > 0.7


def test_a_texture_looks_alike_at_any_size():
    for seed in range(200, 212):
        small, large, other = (look(texture(*pair)) for pair in ((seed, 96), (seed, 160), (seed + 50, 160)))
        assert apart(small, large) < 0.25
        assert apart(small, large) < apart(small, other)


def test_scenes_are_not_stationary(textures):
    scenes = [scene(seed, 128) for seed in range(10)]
    uneven = np.mean([apart(*halves(s)) for s in scenes])
    assert uneven > 2 * np.mean([apart(*halves(t)) for t in textures])


def test_palettes_differ_in_hue_chroma_and_key():
    palettes = [sample_palette(np.random.default_rng(seed)) for seed in range(200)]
    chroma = np.array([np.linalg.norm(p.lab[:, 1:], axis=1).max() for p in palettes])
    lightness = np.array([(p.lab[:, 0] * p.shares).sum() for p in palettes])
    assert (chroma < 0.03).mean() > 0.05
    assert (chroma > 0.12).mean() > 0.1
    assert lightness.std() > 0.1
    assert all(np.ptp(p.lab[:, 0]) > 0.2 for p in palettes)
    assert all(np.isclose(p.shares.sum(), 1) for p in palettes)


def test_parameters_do_not_depend_on_the_size(monkeypatch):
    drawn, between = [], Kit.between

    def recorded(kit, low, high):
        drawn.append(between(kit, low, high))
        return drawn[-1]

    monkeypatch.setattr(Kit, "between", recorded)
    for make in (texture, scene):
        for seed in range(8):
            for size in (40, 90):
                drawn.append(size)
                make(seed, size)
            middle = drawn.index(90)
            assert drawn[1:middle] == drawn[middle + 1 :]
            drawn.clear()


def test_sheet(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sheet, "SAMPLES", 2)
    path = tmp_path / "sheet.png"
    sheet.main(["-o", str(path), "--seed", "1", "--pixels", "40", "hatching", "scene"])
    with Image.open(path) as image:
        assert image.size == (sheet.LABEL + 2 * (40 + sheet.GAP), 2 * (40 + sheet.GAP))
        assert len(image.getcolors(10**6)) > 1000
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["hatching", "scene"]


def test_sheet_names_the_rows_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sheet.main(["-o", str(tmp_path / "sheet.png"), "hatchin"])
    assert "no such row: hatchin; there are: clouds" in capsys.readouterr().err
