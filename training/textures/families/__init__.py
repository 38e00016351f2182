"""The families of textures: each a function from a kit to a picture. To add one, list it in `plain.PLAIN`."""

from collections.abc import Mapping

from training.textures.families import amorphous, cellular, nature, tilings
from training.textures.families.plain import PLAIN
from training.textures.families.two_in_one import blend, overprint
from training.textures.kit import Family

FAMILIES: Mapping[str, Family] = {family.__name__: family for family in (*PLAIN, blend, overprint)}

SURFACES: tuple[Family, ...] = (
    amorphous.clouds,
    amorphous.blotches,
    cellular.pebbles,
    tilings.bricks,
    tilings.stripes,
    tilings.tartan,
    tilings.weave,
    tilings.knit,
    nature.wood,
    nature.marble,
    nature.fur,
    nature.foliage,
    nature.granite,
    nature.stone,
)
"""What the bodies and the ground of a scene may be made of."""
