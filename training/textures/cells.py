"""Voronoi cells."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from training.textures.arrays import Array, Indices
from training.textures.fields import mix
from training.textures.kit import Kit
from training.textures.places import grid, scatter


@dataclass(frozen=True)
class Cells:
    """Voronoi cells: every pixel's cell and the nearest other one, its distance to the border between them, and its
    place seen from its cell's point.
    """

    index: Indices
    other: Indices
    inside: Array
    y: Array
    x: Array
    count: int

    def coloured(self, colours: Array) -> Array:
        """Return every cell in its own colour, with borders that do not jag."""
        own = np.clip(0.5 + self.inside, 0, 1)
        return mix(colours[self.other], colours[self.index], own)


def voronoi(
    kit: Kit,
    spacing: float,
    jitter: float = 1,
    wobble: float = 0,
    aspect: float = 1,
    stagger: float = 1,
    angle: float | None = None,
) -> Cells:
    """Return the cells of points about `spacing` apart, drawn out along an angle, with borders that wobble."""
    if angle is None:
        angle = kit.angle()
    points = scatter(kit, spacing / math.sqrt(aspect), 3 * spacing * aspect, aspect, angle, jitter, stagger)
    y, x = grid(kit, wobble, spacing)
    squeezed = np.array([[math.sin(angle) / aspect, math.cos(angle)], [math.cos(angle) / aspect, -math.sin(angle)]])
    nodes, pixels = points @ squeezed, np.stack([y, x], axis=-1) @ squeezed
    distance, index = cKDTree(nodes).query(pixels, k=2)
    apart = np.linalg.norm(nodes[index[..., 0]] - nodes[index[..., 1]], axis=-1)
    inside = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart + 1e-6)
    own = points[index[..., 0]]
    return Cells(
        index[..., 0],
        index[..., 1],
        inside.astype(np.float32),
        (y - own[..., 0]).astype(np.float32),
        (x - own[..., 1]).astype(np.float32),
        len(points),
    )
