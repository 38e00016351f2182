"""Light on a relief."""

import math

import numpy as np

from training.textures.arrays import Array
from training.textures.fields import mix, smoothstep


def lit(picture: Array, height: Array, depth: float, angle: float, gloss: float = 0) -> Array:
    """Light a relief from one side: slopes towards the light brighten, others darken, and gloss glints."""
    down, right = np.gradient(height)
    slope = np.asarray(depth * (right * math.cos(angle) + down * math.sin(angle)))
    shade = 1 + np.tanh(slope)
    glint = gloss * smoothstep(0.4, 1.2, slope)
    return mix(picture * shade[..., None], np.ones(3, np.float32), glint)
