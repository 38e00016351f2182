"""A recipe: everything that changes a number, as frozen data read from strict TOML.

`recipes/*.toml` hold one published system each. Every field is stated there or has its default here, and nowhere else.
"""

import copy
import math
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nst_spec import vgg19
from nst_spec.errors import NstError, not_accepted, reason
from nst_spec.files import in_utf8, read_text
from nst_spec.losses import CONTENT_FACTORS, GRAM_DIVISORS, STYLE_FACTORS, TV_FORMS
from nst_spec.preprocessing import SPACES, affine
from nst_spec.sizes import RESIZE_RULES, STYLE_RULES

FOLDER = Path(__file__).parent / "recipes"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e30)]
"""A learning rate; a larger one is soon beyond float32."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=1, le=100_000)]
Fraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, eq=False)
class _OneOf:
    accepted: Collection[str]

    def __call__(self, value: str) -> str:
        if value not in self.accepted:
            raise ValueError(f"is none of {', '.join(self.accepted)}")
        return value


def _one_of(accepted: Collection[str]) -> AfterValidator:
    return AfterValidator(_OneOf(accepted))


Space = Annotated[str, _one_of(SPACES)]
FromList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""What TOML and JSON have as a list."""


class Part(BaseModel):
    """A section of a recipe: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Pooling(Part):
    """How the network pools 2 x 2 at stride 2, and what happens to an odd last row or column."""

    kind: Literal["max", "average"] = "max"
    rounding: Literal["floor", "ceil"] = "floor"


class Size(Part):
    """The finest scale's size in pixels and the rules that make it from an image's own size (see sizes.py).

    `margin`: so many pixels of the content image's reflection are painted around it at every scale and cut off in the
    end. A network's zero padding distorts what it sees at the border, and the optimiser answers with odd colours there.
    """

    rule: Annotated[str, _one_of(RESIZE_RULES)]
    pixels: Pixels
    style_rule: Annotated[str, _one_of(STYLE_RULES)] = "own"
    style_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    margin: Annotated[int, Field(ge=0, le=1024)] = 0


class Scale(Part):
    """One scale of a run: its size as a fraction of the finest one, and its steps.

    One with a `factor` is preceded by others of as many steps, each so much of the next one's size, down to `smallest`
    pixels: a larger picture takes more of them, and so has as wide strokes as a small one.
    """

    fraction: Fraction
    steps: Annotated[int, Field(ge=0)]
    factor: Annotated[float, Field(gt=0, le=0.9)] | None = None
    smallest: Pixels | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.factor is None) != (self.smallest is None):
            raise ValueError("expected factor and smallest together, received one of them")
        return self

    def down(self, pixels: int) -> "tuple[Scale, ...]":
        """Return this scale and what precedes it, the coarsest first, where the finest one has so many pixels."""
        found = [Scale(fraction=self.fraction, steps=self.steps)]
        if self.factor and self.smallest:
            while (fraction := found[0].fraction * self.factor) * pixels >= self.smallest:
                found.insert(0, Scale(fraction=fraction, steps=self.steps))
        return tuple(found)


class Content(Part):
    """The content term: its form (losses.py) and the weight of each tap."""

    term: Annotated[str, _one_of(CONTENT_FACTORS)]
    taps: dict[str, NotNegative]


class Style(Part):
    """The style term: Gram divisor and form (losses.py), and the weight of each tap.

    `blend` is how much each of several style images counts beside the others; they count alike if it is empty.
    """

    gram: Annotated[str, _one_of(GRAM_DIVISORS)]
    term: Annotated[str, _one_of(STYLE_FACTORS)]
    taps: dict[str, NotNegative]
    blend: Annotated[tuple[NotNegative, ...], FromList] = ()

    @field_validator("blend", mode="before")
    @classmethod
    def _blend_from_text(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return list(map(float, value.split(",")))
            except ValueError:
                raise ValueError(f"expected numbers, for example 2,1; received {value!r}") from None
        return value

    @field_validator("blend")
    @classmethod
    def _counts(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not 0 < sum(value) < math.inf:
            raise ValueError(f"expected a finite sum above 0, received {', '.join(map(str, value))}")
        return value

    def shares(self, images: int) -> tuple[float, ...]:
        """Return what each of so many style images counts, 1 in all; raises NstError where `blend` is of others."""
        blend = self.blend or (1.0,) * images
        if len(blend) != images:
            raise NstError(f"style.blend: expected a number for each style image ({images}), received {len(blend)}")
        return tuple(weight / sum(blend) for weight in blend)


class TotalVariation(Part):
    """The total-variation term on the optimised variable."""

    form: Annotated[str, _one_of(TV_FORMS)] = "l1"
    weight: NotNegative = 0.0


InitKind = Literal["content", "style", "noise", "file"]
INIT_KINDS = get_args(InitKind)


class Init(Part):
    """The image a run starts from; noise has mean zero and deviation `sigma` in the optimised pixel space.

    Of several style images, `style` is the first.
    """

    kind: InitKind = "content"
    file: str | None = None
    sigma: Positive = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


class Adam(Part):
    """Adam's constants; `convention` says where epsilon stands (optimizers.py)."""

    kind: Literal["adam"] = "adam"
    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Positive = 1e-8
    convention: Literal["torch", "hat"] = "torch"


class LBFGS(Part):
    """The constants of L-BFGS without line search.

    `scaling` is what y.s / y.y of the latest pair is multiplied by, the inverse curvature where no pair tells of one.
    """

    kind: Literal["lbfgs"] = "lbfgs"
    lr: Rate = 1.0
    history: Annotated[int, Field(ge=1, le=100_000)] = 100
    scaling: Rate = 1.0
    tolerance_grad: Finite = 1e-7
    tolerance_change: Finite = 1e-9


class SGD(Part):
    """The constants of gradient descent with exponential decay."""

    kind: Literal["sgd"] = "sgd"
    lr: Rate
    decay_rate: Fraction = 1.0
    decay_steps: Count = 1


Optimizer = Adam | LBFGS | SGD
OPTIMIZERS: Mapping[str, type[Part]] = {"adam": Adam, "lbfgs": LBFGS, "sgd": SGD}


class Recipe(Part):
    """One style-transfer system.

    `preprocessing` is the space that feeds the network, None meaning the weight set's own; `space` is the one the
    optimiser works in. `clamp`: after each step, at the end of each scale, or never, to [0, 1] in that space. `result`:
    the last image or the one the lowest loss was computed on. `carry`: what a finer scale takes over from the coarser
    one: its image, enlarged, or, where there is a content term, the change it made to the content image, so that the
    finer one has all the photo's detail to begin with. `colours`: those that the picture was painted in, or the content
    image's, beneath the brightness that was painted. `guard`: a loss that is not finite, or over run.GUARD_FACTOR times
    the best, restores the best image and clears the optimiser's history. `stages` are short names that choose taps
    (`--style-taps 1,2`). `adapted` holds, by weight set, the settings that the recipe changes when it is run with that
    set (`adapted_to`).
    """

    name: str
    source: str
    note: str = ""
    weights: str
    preprocessing: Space | None = None
    space: Space
    pooling: Pooling = Pooling()
    size: Size
    scales: Annotated[tuple[Scale, ...], FromList]
    content: Content
    style: Style
    alpha: NotNegative
    beta: NotNegative
    tv: TotalVariation = TotalVariation()
    init: Init = Init()
    optimizer: Optimizer = Field(discriminator="kind")
    clamp: Literal["each-step", "final", "none"]
    result: Literal["last", "best"] = "last"
    carry: Literal["image", "change"] = "image"
    colours: Literal["style", "content"] = "style"
    guard: bool = False
    stages: dict[str, str] = {}
    adapted: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            vgg19.check_taps([*self.content.taps, *self.style.taps, *self.stages.values()])
        except NstError as error:
            raise ValueError(str(error)) from None
        if not self.content.taps and not self.style.taps:
            raise ValueError("taps: expected at least one content or style tap, received none")
        if not self.scales:
            raise ValueError("scales: expected at least one, received none")
        if (last := self.scales[-1].fraction) != 1:
            raise ValueError(f"scales: expected the last one to have the fraction 1, the size itself, received {last}")
        if self.init.kind == "file" and self.init.file is None:
            raise ValueError("init.file: expected the path of an image, received nothing")
        for weights in self.adapted:
            try:
                adapted_to(self, weights)
            except NstError as error:
                raise ValueError(f"adapted.{weights}: {str(error).removeprefix(f'{self.name}: ')}") from None
        return self

    @property
    def taps(self) -> tuple[str, ...]:
        """Every tap of either term, in network order."""
        return vgg19.check_taps([*self.content.taps, *self.style.taps])

    @property
    def schedule(self) -> tuple[Scale, ...]:
        """Every scale that a run has at the recipe's size, coarsest first."""
        return tuple(one for scale in self.scales for one in scale.down(self.size.pixels))

    @property
    def steps(self) -> int:
        """The steps of all scales together."""
        return sum(scale.steps for scale in self.schedule)

    @property
    def term_weights(self) -> tuple[float, float, float]:
        """Alpha, beta and the total-variation weight, as losses.total_loss takes them."""
        return self.alpha, self.beta, self.tv.weight


ADAM_STEP = 0.02
"""Adam's learning rate, as a fraction of the range from black to white, where a run is switched to it without one."""

NEUTRAL_STRENGTH = 0.5
"""The strength at which alpha and beta are the recipe's own."""

WEIGHED = frozenset({"alpha", "beta"})
"""What weighs the terms against each other: where one of them is stated, neither is adapted to a weight set."""

STRENGTH_POWER = 3
"""The power of strength that weights follow: what an eye takes for even steps is a factor of ten in beta and more."""

OF_ONE_RUN = {"steps": "scales, each with its steps", "strength": "alpha, beta and tv.weight"}
"""The settings that stand for several of a recipe's, and for which."""


BASED_ON = "based_on"
"""The key of a file alone, which names the recipe that it changes."""


def names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package, `default` first."""
    return tuple(sorted((path.stem for path in FOLDER.glob("*.toml")), key=lambda name: (name != "default", name)))


def load(recipe: str | Path, *, based_on_by: tuple[Path, ...] = ()) -> Recipe:
    """Return a recipe by name, or from a TOML file.

    A file may be `based_on` another recipe and states what differs, key by key; a term's taps are stated as one, an
    optimiser of another kind begins with its own defaults, and its source is not the other's. What the other adapts to
    a weight set holds too, but for what the file states. Files that it names are looked for beside it, and a run starts
    from an `init.file` unless `init.kind` says otherwise. `based_on_by` are the files that led here, none of which may
    come again.

    Raises NstError naming the accepted names, or the file, the key and its accepted values.
    """
    if not isinstance(recipe, str | Path):
        raise not_accepted("recipe", recipe, (*names(), "FILE.toml"))
    path = FOLDER / f"{recipe}.toml"
    if str(recipe) not in names():
        path = Path(recipe)
        if path.suffix != ".toml":
            raise not_accepted("recipe", str(recipe), (*names(), "FILE.toml"))
    try:
        data = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise NstError(f"recipe {path.name}: {reason(error)}") from error
    init = data["init"] if isinstance(data.get("init"), dict) else {}
    for section, key in ((data, "weights"), (init, "file")):
        named = section.get(key)
        if isinstance(named, str) and (key == "file" or Path(named).suffix):  # a weight set's name has none
            section[key] = str(path.parent / named)
    if "file" in init:
        init.setdefault("kind", "file")
    accepted = (*Recipe.model_fields, BASED_ON)
    unknown = [key for key in data if key not in (*accepted, *OF_ONE_RUN)]
    if unknown:
        raise not_accepted(f"{path.name}: unknown key", unknown[0], accepted)
    base = _base(data.pop(BASED_ON, None), (*based_on_by, path.resolve()))
    stated = dict(by_key(data))
    adapted = {weights: _unstated(settings, stated) for weights, settings in base.get("adapted", {}).items()}
    of_file = {"name": in_utf8(path.stem), "adapted": adapted} | (
        {"source": f"based on {base['name']}"} if base else {}
    )
    whole = _merged(base | of_file, data)
    try:
        return from_dict(whole, origin=path.name)
    except NstError as error:
        if all(name in whole for name, field in Recipe.model_fields.items() if field.is_required()):
            raise
        raise NstError(f"{error}; a recipe that is `based_on` another states only what differs") from None


def _merged(base: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in stated.items():
        theirs = merged.get(name)
        if isinstance(value, dict) and isinstance(theirs, dict):
            is_another = name == "optimizer" and value.get("kind", theirs["kind"]) != theirs["kind"]
            merged[name] = value if is_another else theirs | value
        else:
            merged[name] = value
    return merged


def _base(based_on: Any, files: tuple[Path, ...]) -> dict[str, Any]:
    if based_on is None:
        return {}
    base, file = based_on, files[-1]
    if based_on not in names():
        base = (file.parent / based_on).resolve() if isinstance(based_on, str) else None
        if base is None or base.suffix != ".toml":
            raise not_accepted(f"{file.name}: based_on", based_on, (*names(), "FILE.toml"))
        if base in files:
            raise NstError(f"{file.name}: based_on: expected a recipe that does not need this one, received {based_on}")
    return load(base, based_on_by=files).model_dump() | {"note": ""}


def from_dict(data: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Return the recipe that the mapping describes; `origin` begins an error's message."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise NstError(f"{origin}: {'; '.join(map(_explain, error.errors()))}") from None


def _explain(problem: Any) -> str:
    section, *inner = problem["loc"] or ("",)
    # Of an optimiser's key, pydantic says the kind as well.
    where = [section, *(inner[1:] if section == "optimizer" else inner)] if problem["loc"] else []
    key = ".".join(map(str, where))
    if key in OF_ONE_RUN:
        return f"{key}: expected {OF_ONE_RUN[key]} in a recipe; one run takes --{key}"
    # The keys there are: of an optimiser, those of its kind, where it is known.
    parts = (OPTIMIZERS[inner[0]],) if section == "optimizer" and inner else _parts_at(where[:-1])
    if problem["type"] == "extra_forbidden":
        return str(_unknown(where[:-1], where[-1], _keys_of(parts)))
    if problem["type"] in _NOT_A_WORD and choices(key):
        return str(not_accepted(key, problem["input"], choices(key)))
    if problem["type"] == "dict_type":
        example = ", for example { relu1_1 = 1.0 }" if key.endswith(".taps") else ""
        return f"{key}: expected a table{example}, received {problem['input']!r}"
    if problem["type"] in _NO_SECTION:
        keys = ", ".join(_keys_of(_parts_at(where)))
        return f"{key}: expected a section with keys of its own ({keys}), received {problem['input']!r}"
    if problem["type"] == "tuple_type":
        return f"{key}: expected a list, received {problem['input']!r}"
    if problem["type"] == "missing":
        return f"{key}: expected a value, received nothing"
    if problem["type"] == "union_tag_not_found" and isinstance(problem["input"], dict):
        return f"{key}.kind: expected a value, received nothing; accepted: {', '.join(OPTIMIZERS)}"
    if problem["type"] == "value_error":
        return f"{key}{': ' if key else ''}{problem['ctx']['error']}"
    if problem["type"] == "union_tag_invalid":
        return str(not_accepted(f"{key}.kind", problem["input"].get("kind"), OPTIMIZERS))
    return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}, received {problem['input']!r}"


_NO_SECTION = ("model_type", "model_attributes_type")
"""What pydantic calls a value where a section is expected."""
_NOT_A_WORD = ("literal_error", "value_error", "string_type")
"""What it calls one that is none of a key's words."""


def _unknown(sections: Iterable[Any], name: str, names_there: Iterable[str]) -> NstError:
    return not_accepted("unknown key", name, names_there, within="".join(f"{section}." for section in sections))


def _parts_at(where: Sequence[Any]) -> tuple[type[Part], ...]:
    """Return the section that a recipe has at a place, in each of its kinds; none where it has a value."""
    match where:
        case []:
            return (Recipe,)
        case ["scales", _]:
            return (Scale,)
        case [section]:
            return _SECTIONS.get(section, ())
    return ()


def _keys_of(parts: Iterable[type[Part]]) -> Iterable[str]:
    return dict.fromkeys(key for part in parts for key in part.model_fields)


def choices(key: str) -> tuple[str, ...]:
    """Return the words of which a key of a recipe is one; none where it is no choice among words."""
    *sections, last = key.split(".")
    if key == "optimizer.kind":
        return tuple(OPTIMIZERS)
    annotations = (
        part.model_fields[last].rebuild_annotation() for part in _parts_at(sections) if last in part.model_fields
    )
    return next(filter(None, map(_words, annotations)), ())


def _words(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, AfterValidator):
        return tuple(annotation.func.accepted) if isinstance(annotation.func, _OneOf) else ()
    inner = getattr(annotation, "__metadata__", ()) or get_args(annotation)
    if get_origin(annotation) is Literal:
        return tuple(inner)
    return next(filter(None, map(_words, inner)), ())


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value`, the value read as TOML, or as plain text where it is no TOML.

    Raises NstError where there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise NstError(f"--set: expected key=value, for example optimizer.lr=0.02; received {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def override(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the settings in place of its own.

    Keys are a recipe's fields, dotted (`optimizer.lr`) or by section (`{"optimizer": {"lr": 1.0}}`, which leaves the
    section's other fields as they are), and three that stand for several fields: `steps` (all scales together, shared
    out as the recipe does, at least one at the finest), `strength` (0 to 1: alpha times (2(1 - strength))^3, beta times
    (2 strength)^3, the total variation's weight times that or, where it is more, 2 strength, so 0.5 changes nothing and
    0 leaves the content alone), and a term's `taps` as names or stages (`style.taps = "1,3"` or
    `"relu1_1=0.5,relu3_1"`; a tap keeps its weight, a new one has 1). Another optimiser's `kind` begins with that
    optimiser's own defaults; Adam's learning rate is then ADAM_STEP of the optimised space's range.

    Raises NstError naming the key and the accepted values.
    """
    data = recipe.model_dump()
    settings = {key: own(value) for key, value in by_section(settings.items())}
    steps, strength = settings.pop("steps", None), settings.pop("strength", None)
    for key, value in sorted(settings.items(), key=lambda item: item[0] != "optimizer.kind"):
        if key in ("content.taps", "style.taps"):
            weights = getattr(recipe, key.partition(".")[0]).taps
            _put(data, key, _chosen_taps(value, weights, recipe.stages), recipe.name)
        elif key == "optimizer.kind" and value != recipe.optimizer.kind:
            data["optimizer"] = {"kind": value}
        else:
            _put(data, key, value, recipe.name)
    optimizer, space = data["optimizer"], data["space"]
    without_rate = optimizer.get("kind") if isinstance(optimizer, dict) and "lr" not in optimizer else None
    if without_rate == "adam" and space in list(SPACES):
        optimizer["lr"] = ADAM_STEP * float(affine("unit", space).scale.mean())
    if without_rate == "sgd":
        raise NstError("optimizer sgd: expected a learning rate, received none; --lr or optimizer.lr gives one")
    changed = from_dict(data, origin=recipe.name)
    if steps is not None:
        changed = changed.model_copy(update={"scales": _shared_out(changed.schedule, steps)})
    if strength is not None:
        changed = _strengthened(changed, strength)
    return changed


def by_section(settings: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield settings, each its key and value, with dotted keys, also those that are given as a whole section."""
    for key, value in settings:
        if key in _SECTIONS and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", setting) for inner, setting in value.items())
        else:
            yield str(key), value


def _kinds(annotation: Any) -> tuple[type[Part], ...]:
    kinds = get_args(annotation) or (annotation,)
    return kinds if all(isinstance(kind, type) and issubclass(kind, Part) for kind in kinds) else ()


_SECTIONS = {name: kinds for name, field in Recipe.model_fields.items() if (kinds := _kinds(field.annotation))}
"""A recipe's sections, each with the kinds of it that there are."""


def own(value: Any) -> Any:
    """Return a caller's value to keep: a copy, or of NumPy's numbers and arrays Python's own."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else copy.deepcopy(value)


def _strengthened(recipe: Recipe, strength: Any) -> Recipe:
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise NstError(f"strength: expected a number from 0 to 1, received {strength!r}")
    content = ((1 - strength) / (1 - NEUTRAL_STRENGTH)) ** STRENGTH_POWER
    ratio = strength / NEUTRAL_STRENGTH
    style = ratio**STRENGTH_POWER
    # Little style leaves as many specks as much of it, and less total variation does not smooth them.
    tv = recipe.tv.model_copy(update={"weight": recipe.tv.weight * max(ratio, style)})
    return recipe.model_copy(update={"alpha": recipe.alpha * content, "beta": recipe.beta * style, "tv": tv})


def adapted_to(recipe: Recipe, weights: str, stated: Iterable[str] = ()) -> Recipe:
    """Return the recipe as it is meant for a weight set, with nothing left to adapt.

    `stated` are the keys of settings that are to follow: where WEIGHED are among them, those are not adapted.
    """
    settings = _unstated(recipe.adapted.get(weights, {}), WEIGHED.intersection(stated))
    return override(recipe.model_copy(update={"adapted": {}}), settings)


def _unstated(settings: Mapping[str, Any], stated: Iterable[str]) -> dict[str, Any]:
    subjects = {_subject(key) for key in stated}
    return {key: value for key, value in by_section(settings.items()) if _subject(key) not in subjects}


def _subject(key: str) -> str:
    # What is stated as one: the weights of the terms, an optimiser with its constants, all taps of a term.
    section, *inner = key.split(".")
    if section in WEIGHED:
        return "weights of the terms"
    return section if section == "optimizer" else ".".join([section, *inner[:1]])


def without_effect(recipe: Recipe, stated: Iterable[str]) -> list[str]:
    """Return a sentence for each of the stated keys that changes nothing in this recipe."""
    idle: dict[str, str] = {}
    if recipe.init.kind != "noise":
        idle |= dict.fromkeys(("init.seed", "init.sigma"), f"init.kind is {recipe.init.kind!r}, not 'noise'")
    if recipe.init.kind != "file":
        idle["init.file"] = f"init.kind is {recipe.init.kind!r}, not 'file'"
    if not recipe.tv.weight:
        idle["tv.form"] = "tv.weight is 0"
    return [f"{key} changes nothing: {idle[key]}" for key in stated if key in idle]


def by_key(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested settings with its dotted key."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from by_key(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing_keys(one: Recipe, other: Recipe) -> list[str]:
    """Return the dotted keys of the settings that differ, sorted."""
    ours, theirs = (dict(by_key(recipe.model_dump())) for recipe in (one, other))
    return sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))


def as_record(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON has it, files by their names alone: a record tells nobody's folders."""
    resolved = recipe.model_dump(mode="json")
    for section, key in ((resolved["init"], "file"), (resolved, "weights")):
        section[key] = section[key] and Path(section[key]).name
    return resolved


def _complete(record: dict[str, Any]) -> dict[str, Any]:
    return as_record(Recipe.model_validate(record))


Record = Annotated[dict[str, Any], AfterValidator(_complete)]
"""A recipe as `as_record` gave it to a file; a setting that is younger than the file has its default."""


def _put(data: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *sections, last = key.split(".")
    into = data
    for depth, section in enumerate(sections):
        inner = into.get(section)
        if not isinstance(inner, dict):
            from_dict(data, origin=origin)  # says so where another setting stands in the section's place
            raise _unknown(sections[:depth], ".".join([*sections[depth:], last]), into)
        into = inner
    into[last] = value


def _chosen_taps(chosen: Any, weights: Mapping[str, float], stages: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(chosen, Mapping):
        return dict(chosen)
    items = map(str, chosen) if isinstance(chosen, list | tuple) else [item.strip() for item in str(chosen).split(",")]
    taps: dict[str, Any] = {}
    for item in items:
        name, _, weight = (part.strip() for part in item.partition("="))
        tap = stages.get(name, name)
        if tap not in vgg19.TAPS:
            raise not_accepted("tap", name, (*stages, *vgg19.TAPS))
        if tap in taps:
            raise NstError(f"tap {name}: expected each tap once, received {tap} twice")
        try:
            taps[tap] = float(weight) if weight else weights.get(tap, 1.0)
        except ValueError:
            raise NstError(f"tap {name}: expected a number after '=', received {weight!r}") from None
    return taps


def _shared_out(scales: tuple[Scale, ...], steps: Any) -> tuple[Scale, ...]:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise NstError(f"steps: expected a whole number, 0 or more, received {steps!r}")
    total = sum(scale.steps for scale in scales)
    shares: list[int] = []
    done = 0
    for scale in scales:
        done += scale.steps
        # Cumulative rounding, so that the shares add up to exactly `steps`.
        up_to_here = (2 * steps * done + total) // (2 * total) if total else 0
        shares.append(up_to_here - sum(shares))
    shares[-1] += steps - sum(shares)
    if steps and not shares[-1]:
        shares[-1] += 1
        shares[shares.index(max(shares))] -= 1
    return tuple(scale.model_copy(update={"steps": share}) for scale, share in zip(scales, shares, strict=True))
