import functools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from nst_spec import recipe, weights
from nst_spec.errors import NstError
from nst_spec.inputs import check_weights

PUBLISHED = {
    "pytorch-blog",
    "udacity2018",
    "sonare2024",
    "sonare2024-clamped",
    "dye2023",
    "dye2023-code",
    "tf-eager2018",
    "gatys2016",
    "gatys-notebook",
    "pytorch-tutorial",
    "tf-tutorial",
    "keras-io",
    "neural-style",
    "neural-style-pt",
    "neural-style-tf",
}


def test_every_system_has_its_recipe():
    assert set(recipe.names()) == PUBLISHED | {"default"}
    assert recipe.names()[0] == "default"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_recipes_name_source_and_note_and_have_none_of_the_defaults_devices(name):
    found = recipe.load(name)
    assert found.name == name
    assert len(found.source) > 20
    assert len(found.note) > 40
    assert not found.guard
    assert found.carry == "image"


def test_the_default_alone_may_fall_back_and_is_guarded():
    assert [name for name in recipe.names() if recipe.load(name).weights == "auto"] == ["default"]
    assert recipe.load("default").guard


# What the documents' code says, read off the documents once more.
@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("pytorch-blog", "preprocessing", "unit"),
        ("pytorch-blog", "beta", 0.01),
        ("pytorch-blog", "steps", 1000),
        ("pytorch-blog", "taps", ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "conv5_1")),
        ("udacity2018", "beta", 1e6),
        ("udacity2018", "space", "imagenet"),
        ("udacity2018", "taps", ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")),
        ("sonare2024", "taps", ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")),
        ("sonare2024", "clamp", "final"),
        ("sonare2024-clamped", "clamp", "each-step"),
        ("sonare2024-clamped", "beta", 1e6),
        ("dye2023", "taps", ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")),
        ("dye2023-code", "alpha", 1000.0),
        ("dye2023-code", "steps", 100),
        ("tf-eager2018", "alpha", 1e3),
        ("tf-eager2018", "result", "best"),
        ("gatys-notebook", "steps", 740),
        ("pytorch-tutorial", "taps", ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")),
        ("tf-tutorial", "alpha", 1e4),
        ("keras-io", "alpha", 2.5e-8),
        ("neural-style", "beta", 100.0),
        ("neural-style-pt", "alpha", 5.0),
        ("neural-style-tf", "beta", 1e4),
    ],
)
def test_published_values(name, key, expected):
    assert getattr(recipe.load(name), key) == expected


def test_gatys_style_weights_are_a_thousand_over_channels_squared():
    weights = list(recipe.load("gatys-notebook").style.taps.values())
    np.testing.assert_allclose(weights, [1e3 / n**2 for n in (64, 128, 256, 512, 512)])


def test_neural_style_pt_differs_from_neural_style_in_pooling_and_total_variation():
    lua, pt = (recipe.load(name).model_dump() for name in ("neural-style", "neural-style-pt"))
    assert {key for key in lua if lua[key] != pt[key]} == {"name", "source", "note", "pooling", "tv"}


def changed(name="default", **settings):
    return recipe.override(recipe.load(name), {key.replace("__", "."): value for key, value in settings.items()})


def test_settings_replace_values_and_leave_the_recipe_alone():
    before = recipe.load("default")
    after = recipe.override(before, {"optimizer.lr": 0.5, "size.pixels": 64, "clamp": "none"})
    assert (after.optimizer.lr, after.size.pixels, after.clamp) == (0.5, 64, "none")
    assert before == recipe.load("default")


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 100, 301])
def test_steps_are_shared_out_exactly(steps):
    shares = [scale.steps for scale in changed(steps=steps).scales]
    assert sum(shares) == steps
    assert min(shares) >= 0
    assert shares[-1] > 0 or steps == 0
    assert [scale.steps for scale in changed(steps=380).schedule] == [200, 100, 80]
    assert [scale.steps for scale in changed(steps=290, **{"size.pixels": 1024}).schedule] == [100, 100, 50, 40]


@pytest.mark.parametrize(
    ("strength", "alpha", "beta", "tv"),
    [(0.0, 8.0, 0.0, 0.0), (0.25, 3.375, 0.125, 0.5), (0.5, 1.0, 1.0, 1.0), (1.0, 0.0, 8.0, 8.0)],
)
def test_strength_moves_weight_between_content_and_style(strength, alpha, beta, tv):
    before, after = recipe.load("default"), changed(strength=strength)
    assert after.alpha == pytest.approx(alpha * before.alpha)
    assert after.beta == pytest.approx(beta * before.beta)
    assert after.tv.weight == pytest.approx(tv * before.tv.weight)


def test_a_recipe_adapts_to_a_weight_set_by_its_own_data():
    default = recipe.load("default")
    assert recipe.adapted_to(default, "caffe") == recipe.override(default, {"adapted": {}})
    adapted = recipe.adapted_to(default, "random")
    assert adapted.content.taps == {"relu1_2": 0.5, "relu2_2": 0.5}
    assert adapted.style == default.style
    embedded = recipe.adapted_to(default, "embedded")
    assert (embedded.content.taps, embedded.size.margin) == ({"relu3_2": 1.0}, 16)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_recipe_can_be_run_with_the_embedded_weights(name):
    published = recipe.load(name)
    adapted = recipe.adapted_to(published, "embedded")
    check_weights(adapted, weights.load("embedded", offline=True))
    assert set(published.adapted) <= {"embedded"}
    assert recipe.adapted_to(published, published.weights) == recipe.override(published, {"adapted": {}})
    # Features of the embedded network are about as large as those of `torchvision`, a hundredth of those of `caffe`.
    louder = adapted.alpha / published.alpha, adapted.beta / published.beta
    assert louder == (1, 1) if published.weights == "torchvision" else min(louder) >= 1e4


@pytest.mark.parametrize(
    ("base", "stated", "expected"),
    [
        ("default", '[tv]\nform = "l1"\nweight = 3.0', {"tv.weight": 3.0, "size.margin": 16}),
        ("default", '[size]\nrule = "long-edge"\npixels = 99', {"size.pixels": 99, "size.margin": 16}),
        ("gatys2016", "beta = 5.0", {"alpha": 1.0, "beta": 5.0, "content.taps": {"relu3_2": 1.0}}),
        ("tf-tutorial", '[optimizer]\nkind = "lbfgs"', {"optimizer.lr": 1.0, "alpha": 1e8}),
        ("default", '[adapted.random]\n"tv.weight" = 1.0', {"tv.weight": 150.0, "size.margin": 16}),
    ],
)
def test_what_a_file_states_is_not_adapted_as_in_the_recipe_it_is_based_on(base, stated, expected, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(f'based_on = "{base}"\nsource = "mine"\n{stated}\n')
    adapted = recipe.adapted_to(recipe.load(mine), "embedded")
    for key, value in expected.items():
        assert functools.reduce(getattr, key.split("."), adapted) == value, key


def test_what_a_file_states_is_not_adapted_by_a_section_either(tmp_path):
    (tmp_path / "base.toml").write_text(
        'based_on = "gatys2016"\n[adapted.embedded]\nstyle.gram = "none"\ntv.weight = 3.0\n'
    )
    mine = tmp_path / "mine.toml"
    mine.write_text('based_on = "base.toml"\nstyle.gram = "elements"\n')
    adapted = recipe.adapted_to(recipe.load(mine), "embedded")
    assert (adapted.style.gram, adapted.tv.weight) == ("elements", 3.0)


def test_taps_are_chosen_by_name_number_and_weight():
    assert changed("dye2023", style__taps="1,3").style.taps == {"relu1_2": 1.0, "relu3_4": 1.0}
    assert changed("dye2023", content__taps=4).content.taps == {"relu4_4": 1.0}
    assert changed("udacity2018", style__taps="relu2_1,relu1_2=0.5").style.taps == {"relu2_1": 0.75, "relu1_2": 0.5}
    assert changed("udacity2018", style__taps="relu2_1 , relu1_2 = 2").style.taps == {"relu2_1": 0.75, "relu1_2": 2.0}


def test_another_optimizer_begins_with_its_own_defaults():
    after = changed(optimizer__kind="lbfgs", optimizer__history=7)
    assert (after.optimizer.kind, after.optimizer.history, after.optimizer.lr) == ("lbfgs", 7, 1.0)
    # The same step in every space: 0.02 of the range from black to white.
    assert changed("pytorch-tutorial", optimizer__kind="adam").optimizer.lr == pytest.approx(0.02)
    assert changed("neural-style-tf", optimizer__kind="adam").optimizer.lr == pytest.approx(5.1)
    assert changed("neural-style-tf", optimizer__kind="adam", optimizer__lr=1.0).optimizer.lr == 1.0
    assert changed("gatys2016", optimizer__lr=0.5, optimizer__kind="adam").optimizer.lr == 0.5  # in any order
    with pytest.raises(NstError, match=r"optimizer sgd: expected a learning rate, received none"):
        changed("neural-style-tf", optimizer__kind="sgd")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": 1}, r"unknown key: received 'colour'; accepted: name, source"),
        (
            {"optimizer.momentum": 1},
            r"key: received 'optimizer.momentum'; accepted: optimizer.kind, optimizer.lr",
        ),
        ({"optimizer.beta1": 0.5}, r"received 'optimizer.beta1'; accepted: optimizer.kind, .*tolerance_change$"),
        (
            {"tv.form": "mean-square"},
            r"tv.form: received 'mean-square'; accepted: l1, .*; did you mean mean-squared\?$",
        ),
        ({"tv.form": 3}, r"tv.form: received 3; accepted: l1, half-squared"),
        ({"pooling.kind": 3}, r"pooling.kind: received 3; accepted: max, average$"),
        ({"space": "imagnet"}, r"space: received 'imagnet'; .*; did you mean imagenet\?$"),
        ({"optimizer.sgd": 3}, r"unknown key: received 'optimizer.sgd'; accepted: optimizer.kind, optimizer.lr"),
        ({"adam": {"lr": 3}}, r"unknown key: received 'adam'; accepted: name, source"),
        ({"stages": {"1": "relu_1"}}, r"tap: received 'relu_1'; accepted: conv1_1"),
        ({"pooling.sort": 1}, r"unknown key: received 'pooling.sort'; accepted: pooling.kind, pooling.rounding"),
        ({"optimiser.lr": 1}, r"unknown key: received 'optimiser.lr'; accepted: .*optimizer"),
        ({"optimizer.kind": "rmsprop"}, r"optimizer.kind: received 'rmsprop'; accepted: adam, lbfgs, sgd"),
        ({"pooling.kind": "median"}, r"pooling.kind: received 'median'; accepted: max, average$"),
        ({"style.gram": "pixels"}, r"style.gram: received 'pixels'; accepted: none, positions"),
        ({"space": "lab"}, r"space: received 'lab'; accepted: unit, imagenet, caffe"),
        ({"size.rule": "width"}, r"size.rule: received 'width'; accepted: square"),
        ({"size.pixels": 12.5}, r"size.pixels: .*12.5"),
        ({"alpha": "much"}, r"alpha: .*number.*'much'"),
        ({"alpha": -1.0}, r"alpha: .*greater than or equal to 0.*-1"),
        ({"optimizer.kind": "adam", "optimizer.beta1": 1.0}, r"optimizer.beta1: .*less than 1"),
        ({"style.taps": "relu9_1"}, r"tap: received 'relu9_1'; accepted: conv1_1"),
        ({"style": 5, "style.taps": "relu1_1"}, r"style: expected a section with keys of its own .gram, term, taps.*5"),
        ({"size": 64, "size.pixels": 32}, r"size: expected a section with .*pixels.*, received 64$"),
        ({"init": "noise"}, r"init: expected a section with keys of its own .kind, file, .*received 'noise'$"),
        ({"optimizer": "adam"}, r"optimizer: expected a section with keys of its own .kind, lr, .*history.*'adam'$"),
        ({"size.pixels.x": 3}, r"^unknown key: received 'size.pixels.x'; accepted: size.rule, size.p"),
        ({"adapted": {"random": {"bogus": 1}}}, r"adapted.random: unknown key: received 'bogus'; accepted: name"),
        ({"style.blend": "3;1"}, r"style.blend: expected numbers, for example 2,1; received '3;1'"),
        ({"style.blend": [0, 0]}, r"style.blend: expected a finite sum above 0, received 0.0, 0.0"),
        ({"style.blend": [1e308, 1e308]}, r"style.blend: expected a finite sum above 0, received 1e\+308, 1e\+308"),
        ({"style.blend": [1, -1]}, r"style.blend.1: .*greater than or equal to 0.*-1"),
        ({"style.blend": 2}, r"style.blend: expected a list, received 2"),
        ({"stages": 3}, r"stages: expected a table, received 3$"),
        (
            {"adapted": {"random": {"optimzer.lr": 1.0}}},
            r"adapted.random: unknown key: received 'optimzer.lr'; accepted: name, .*, carry",
        ),
        ({"optimizer.histroy": 3}, r"received 'optimizer.histroy'; accepted: optimizer.kind, .*mean optimizer.history"),
        ({"scales": [{"fraction": 1.0, "stps": 2}]}, r"received 'scales.0.stps'; accepted: scales.0.fraction,"),
        ({"style": {"tops": 3}}, r"^default: unknown key: received 'style.tops'; .*did you mean style.taps"),
        ({"style.taps": "relu1_1=x"}, r"relu1_1: expected a number"),
        ({"style.taps": "relu1_1=1,relu2_1,relu1_1=5"}, r"relu1_1: expected each tap once"),
        ({"optimizer.lr": 1e39}, r"optimizer.lr: .*less than or equal to 10+, received 1e\+39"),
        ({"size.style_scale": 1e300}, r"size.style_scale: .*less than or equal to 100"),
        ({"optimizer.kind": "sgd"}, r"sgd: expected a learning rate, received none; --lr"),
        ({5: 1}, r"unknown key: received '5'"),
        ({"": 1}, r"unknown key: received ''; accepted: name, source"),
        ({"steps": -1}, r"steps: expected a whole number"),
        ({"strength": 1.5}, r"strength: expected a number from 0 to 1"),
        ({"init.kind": "file"}, r"init.file"),
        ({"scales": 5, "steps": 2}, r"scales: expected a list, received 5"),
        ({"scales": [1], "steps": 2}, r"scales.0: expected a section with .*fraction, steps, factor, smallest"),
        ({"scales": [{"fraction": 1.0}], "steps": 2}, r"scales.0.steps: expected a value"),
        (
            {"scales": [{"fraction": 1.0, "steps": 2, "factor": 0.5}]},
            r"scales.0: expected factor and smallest together",
        ),
        ({"scales": []}, r"scales: expected at least one, received none"),
        ({"scales": [{"fraction": 0.5, "steps": 2}]}, r"scales: expected the last one to have the fraction 1, .* 0.5$"),
        ({"scales": [{"fraction": 1.0, "steps": 2, "factor": 0.95, "smallest": 9}]}, r"scales.0.factor: .*0.9"),
        ({"size.pixels": 30_000_000_000}, r"size.pixels: .*100000"),
        ({"init.seed": 2**64}, r"init.seed: .*less than 18446744073709551616"),
        ({"optimizer": 3}, r"optimizer: expected a section"),
        ({"weights": 3}, r"weights: .*string.*3"),
    ],
)
def test_mistakes_name_the_key_and_the_accepted_values(settings, message):
    with pytest.raises(NstError, match=message):
        recipe.override(recipe.load("default"), settings)


def test_a_file_may_be_based_on_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('source = "me"\nbased_on = "gatys2016"\nalpha = 3.0\n')
    mine = recipe.load(path)
    assert (mine.name, mine.alpha, mine.beta) == ("mine", 3.0, recipe.load("gatys2016").beta)


def test_a_file_without_a_source_does_not_take_another_ones(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('based_on = "gatys2016"\nalpha = 3.0\n')
    assert recipe.load(path).source == "based on gatys2016"


@pytest.mark.parametrize(
    ("base", "stated", "expected"),
    [
        ("default", "tv = {weight = 3.0}", {"tv.form": "mean-squared-colour", "tv.weight": 3.0}),
        ("gatys2016", "init = {seed = 3}", {"init.kind": "noise", "init.sigma": 50.0, "init.seed": 3}),
        ("gatys2016", "optimizer = {lr = 0.5}", {"optimizer.kind": "lbfgs", "optimizer.lr": 0.5}),
        ("default", 'style = {blend = "3,1"}', {"style.blend": (3.0, 1.0), "style.gram": "positions"}),
        ("default", "style = {blend = [3, 1]}", {"style.blend": (3.0, 1.0)}),
        ("default", "size = {pixels = 99}", {"size.rule": "long-edge", "size.pixels": 99}),
        ("gatys2016", "style = {taps = {relu1_1 = 2.0}}", {"style.taps": {"relu1_1": 2.0}, "style.term": "gatys"}),
        ("default", 'optimizer = {kind = "lbfgs", lr = 0.5}', {"optimizer.history": 10}),
        ("default", 'optimizer = {kind = "sgd", lr = 0.5}', {"optimizer.decay_steps": 1}),
        ("default", 'stages = {1 = "relu1_1"}', {"stages": {"1": "relu1_1"}}),
    ],
)
def test_what_a_file_or_settings_do_not_state_is_as_in_the_recipe(base, stated, expected, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(f'based_on = "{base}"\nsource = "me"\n{stated}\n')
    as_settings = recipe.override(recipe.load(base), tomllib.loads(stated))
    for key, value in expected.items():
        for found in (recipe.load(mine), as_settings):
            assert functools.reduce(getattr, key.split("."), found) == value, key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha = ", "broken.toml"),
        ('based_on = "default"\nsource = "me"\nsteps = 9', r"broken.toml: steps: expected scales, each with .*--steps"),
        ('based_on = "default"\nsource = "me"\nstrength = 0.9', r"strength: expected alpha, beta and tv.weight.*--str"),
        ('based_on = "default"\nsource = "me"\ntv = 3', r"broken.toml: tv: .*received 3"),
        ("optimizer = {lr = 1.0}", r"optimizer.kind: expected a value, received nothing"),
        ("optimizer = 3", r"optimizer: .*received 3"),
        ('source = "me"\nbased_on = "gatys2016"\nalfa = 1.0\n', r"broken.toml: unknown key: received 'alfa'"),
        ('source = "me"\nbased-on = "gatys2016"\n', r"^broken.toml: unknown key: received 'based-on'; .*mean based_on"),
        ('based_on = "gatys2016"\nstyle.taps = ["relu1_1"]\n', r"style.taps: expected a table, .*\['relu1_1'\]$"),
        ('source = "me"\n', r"broken.toml: weights: expected a value, .*; a recipe that is `based_on` another states"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(NstError, match=message):
        recipe.load(path)


def test_a_recipe_file_is_found_beside_the_one_based_on_it(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "first.toml").write_text('source = "me"\nbased_on = "gatys2016"\nalpha = 3.0\n')
    (folder / "second.toml").write_text('source = "me"\nbased_on = "first.toml"\nbeta = 4.0\n')
    monkeypatch.chdir(tmp_path)
    second = recipe.load("recipes/second.toml")
    assert (second.name, second.alpha, second.beta) == ("second", 3.0, 4.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])  # the latter two as Windows has it
def test_files_that_a_recipe_names_are_found_beside_it(encoding, tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    text = 'source = "me"\nbased_on = "gatys2016"\nweights = "mine.npz"\ninit = {file = "start"}\n'
    (folder / "first.toml").write_text(text, encoding=encoding)
    (folder / "second.toml").write_text('source = "me"\nbased_on = "first.toml"\n')
    monkeypatch.chdir(tmp_path)
    second = recipe.load("recipes/second.toml")
    assert [Path(name) for name in (second.weights, second.init.file)] == [folder / "mine.npz", folder / "start"]
    assert second.init.kind == "file"


@pytest.mark.parametrize(
    ("based_on", "message"),
    [
        ("3", r"received 3; accepted: default, dye2023.*FILE.toml$"),
        ('"gatys"', r"received 'gatys'; accepted: default, .*did you mean gatys2016\?$"),
        ('"own.toml"', r"expected a recipe that does not need this one, received own.toml$"),
    ],
)
def test_a_recipe_based_on_nothing_or_itself_is_refused(tmp_path, based_on, message):
    path = tmp_path / "own.toml"
    path.write_text(f'source = "me"\nbased_on = {based_on}\n')
    with pytest.raises(NstError, match=rf"own.toml: based_on: {message}"):
        recipe.load(path)


def test_recipes_based_on_each_other_are_refused(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'source = "me"\nbased_on = "{other}.toml"\n')
    with pytest.raises(NstError, match=r"b.toml: based_on: expected a recipe that does not need this one"):
        recipe.load(tmp_path / "a.toml")


def test_a_file_may_have_the_name_of_the_recipe_it_is_based_on(tmp_path):
    path = tmp_path / "gatys2016.toml"
    path.write_text('source = "me"\nbased_on = "gatys2016"\nalpha = 3.0\n')
    assert recipe.load(path).alpha == 3.0
    assert recipe.load("gatys2016").alpha == 1.0


def test_settings_are_copied_and_numpy_numbers_accepted():
    scales = [{"fraction": 1.0, "steps": 3}]
    after = recipe.override(recipe.load("default"), {"scales": scales, "steps": np.int64(2), "alpha": np.float32(2)})
    assert (after.steps, after.alpha, scales) == (2, 2.0, [{"fraction": 1.0, "steps": 3}])


def test_an_unknown_or_missing_recipe_is_named(tmp_path):
    with pytest.raises(NstError, match=r"'gatys'; accepted: default, dye2023"):
        recipe.load("gatys")
    with pytest.raises(NstError, match=r"nowhere.toml: No such file"):
        recipe.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=0.02", ("optimizer.lr", 0.02)),
        ("guard=true", ("guard", True)),
        ("clamp=none", ("clamp", "none")),
        ("style.taps=relu1_1=2,relu2_1", ("style.taps", "relu1_1=2,relu2_1")),
    ],
)
def test_settings_are_read_as_toml_or_text(text, expected):
    assert recipe.parse_setting(text) == expected


def test_a_setting_without_equals_is_refused():
    with pytest.raises(NstError, match="expected key=value"):
        recipe.parse_setting("lr 3")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("tv.form", ("l1", "half-squared", "power-1.25", "mean-squared", "mean-squared-colour")),
        ("preprocessing", ("unit", "imagenet", "caffe", "caffe-256")),
        ("pooling.rounding", ("floor", "ceil")),
        ("carry", ("image", "change")),
        ("colours", ("style", "content")),
        ("optimizer.kind", ("adam", "lbfgs", "sgd")),
        ("optimizer.convention", ("torch", "hat")),
        ("optimizer.lr", ()),
        ("optimizer.bogus", ()),
        ("style.taps", ()),
        ("style.taps.relu1_1", ()),
        ("style", ()),
        ("guard", ()),
        ("steps", ()),
    ],
)
def test_the_words_that_a_key_may_be(key, words):
    assert recipe.choices(key) == words
