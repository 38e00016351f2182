"""The objective tile by tile: bounded activations, the same losses and gradient; nst_spec.tiles says why."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nst_spec import backend as protocol
from nst_spec import terms, tiles
from nst_spec.errors import NstError
from nst_spec.memory import Plan
from nst_tf import losses
from nst_tf.objective import Objective

Tensors = Mapping[str, tf.Tensor]
"""Tensors by tap."""
Bounds = Mapping[str, tuple[int, int, int, int]]
"""What a tile owns of its features, by tap: from row, to row, from column, to column."""


class TiledObjective(Objective):
    """A problem whose networks see one tile at a time; nst_spec.backend.Objective."""

    def __init__(self, problem: protocol.Problem, plan: Plan, **how: Any) -> None:
        self._channels = problem.channels
        self._graphs: dict[tuple[str, ...], Callable[[tf.Tensor, Bounds], Tensors]] = {}
        super().__init__(problem, plan, **how)
        # A graph for a tile, and a loop in Python over the tiles: each gives its memory back before the next.
        self.loss_and_gradient = self._loss_and_gradient
        # XLA knows every size and bound beforehand, for nine kinds of tile at most. Else one graph serves all.
        kinds = {"jit_compile": True} if self.xla else {"input_signature": self._share_signature()}
        self._share = tf.function(self._share_of_tile, autograph=False, **kinds)

    def pieces(self, image: tf.Tensor) -> tuple[tiles.Piece, ...]:
        """Return the tiles of an image (1, H, W, 3)."""
        height, width = image.shape[1:3]
        return tiles.split(height, width, self.plan.tile, self.recipe.taps)

    def owned(self, crop: tf.Tensor, piece: tiles.Piece, taps: Sequence[str]) -> dict[str, tf.Tensor]:
        """Return the features that a tile owns, for its crop of the variable."""
        key = tuple(taps)
        if key not in self._graphs:
            self._graphs[key] = tf.function(
                lambda crop, bounds: self._owned(crop, bounds, key),
                input_signature=self._signature(key),
                autograph=False,
            )
        return self._graphs[key](crop, self._bounds(piece, key))

    def _signature(self, taps: Sequence[str]) -> tuple[tf.TensorSpec, dict[str, tuple[tf.TensorSpec, ...]]]:
        return self._any_size, {tap: (tf.TensorSpec((), tf.int32),) * 4 for tap in taps}

    def _bounds(self, piece: tiles.Piece, taps: Sequence[str]) -> Bounds:
        owned = {tap: piece.owned(tap, self.recipe.pooling.rounding) for tap in taps}
        return {tap: (rows.start, rows.stop, columns.start, columns.stop) for tap, (rows, columns) in owned.items()}

    def _owned(self, crop: tf.Tensor, bounds: Bounds, taps: Sequence[str]) -> dict[str, tf.Tensor]:
        with tf.device(self.device):
            return dict(self._cut(crop, bounds, taps))

    def _cut(self, crop: tf.Tensor, bounds: Bounds, taps: Sequence[str]) -> Iterator[tuple[str, tf.Tensor]]:
        for tap, features in self.network(self.to_network(crop), taps):
            top, bottom, left, right = bounds[tap]
            # Not by indices, whose gradient takes ten times as long.
            size = 1, bottom - top, right - left, self._channels[tap]
            yield tap, tf.slice(features, (0, top, left, 0), size)

    def content_features(self, image: tf.Tensor) -> dict[str, tuple[tuple[tf.Tensor, ...], float]]:
        """Return the variable's features at the content taps by tile, each tap's with its energy.

        There are none where they are too large to keep.
        """
        taps = list(self.recipe.content.taps)
        kept: dict[str, list[tf.Tensor]] = {tap: [] for tap in taps}
        energies = dict.fromkeys(taps, 0.0)
        for piece in self.pieces(image):
            for tap, features in self.owned(image[:, *piece.crop], piece, taps).items():
                energies[tap] += self._energy(features)
                if self.plan.keeps_content:
                    kept[tap].append(features)
        return {tap: (tuple(kept[tap]), energies[tap]) for tap in taps}

    def grams(self, image: tf.Tensor, divisors: Mapping[str, float]) -> dict[str, tf.Tensor]:
        """Return the variable's Gram matrices, without a gradient, at the taps that have a divisor."""
        return self._rounded(self._sums(image, self.pieces(image), divisors))

    def _sums(
        self, image: tf.Tensor, pieces: Iterable[tiles.Piece], divisors: Mapping[str, float]
    ) -> dict[str, NDArray[np.float64]]:
        # In double precision: sums over many tiles must not lose what a sum over all positions at once would keep.
        sums = {tap: np.zeros((self._channels[tap],) * 2) for tap in divisors}
        for piece in pieces if divisors else ():
            for tap, features in self.owned(image[:, *piece.crop], piece, list(divisors)).items():
                sums[tap] += losses.gram(features, divisors[tap]).numpy()
        return sums

    def _rounded(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, tf.Tensor]:
        return {tap: tf.constant(total, self.dtype) for tap, total in sums.items()}

    def _loss_and_gradient(self, variable: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Return the terms' values, the gradient of the total loss by the variable, and the Gram matrices."""
        with tf.device(self.device):
            *others, last = enumerate(self.pieces(variable))
            divisors = {tap: target.divisor for tap, target in self.style_targets.items()}
            sums = self._sums(variable, (piece for _, piece in others), divisors)
            tv, slope = self.tv_and_gradient(variable)
            gradient = tf.Variable(slope)
            del slope  # it is as large as the image
            content = np.zeros(len(self.content_targets))
            # The last tile completes the Gram matrices, so its forward pass serves both passes.
            for number, piece in (last, *others):
                missing = tf.constant(piece is last[1])
                targets = self._content_targets(number, piece)
                bounds = self._bounds(piece, self.network.taps)
                values, share, own = self._share(
                    variable[:, *piece.crop], bounds, targets, self._rounded(sums), missing
                )
                if piece is last[1]:
                    sums = {tap: sums[tap] + gram.numpy() for tap, gram in own.items()}
                window = gradient[:, *piece.crop]
                window.assign(window + share)
                content += values[: len(content)].numpy()
            values = tf.concat([content.astype(self.dtype), values[len(content) :], [tv]], axis=0)
            return values, gradient.value(), self._rounded(sums)

    def _share_signature(self) -> tuple[Any, ...]:
        content = {
            tap: tf.TensorSpec((1, None, None, self._channels[tap]), self.network.layers[tap].compute_dtype)
            for tap in self.content_targets
        }
        grams = {tap: tf.TensorSpec((self._channels[tap],) * 2, self.dtype) for tap in self.style_targets}
        return *self._signature(self.network.taps), content, grams, tf.TensorSpec((), tf.bool)

    def _share_of_tile(
        self, crop: tf.Tensor, bounds: Bounds, targets: Tensors, sums: Tensors, missing: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Tensors]:
        """Return the terms' values, the crop's share of the gradient, and the tile's own Gram matrices.

        `sums` are the image's Gram matrices, from which the tile's own may be missing.
        """

        def content_term(tap: str, features: tf.Tensor) -> tf.Tensor:
            return losses.squared_error(features, targets[tap], self.content_targets[tap].factor)

        def style_term(tap: str, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            target = self.style_targets[tap]
            gram = losses.gram(features, target.divisor)
            # The whole image's, of which this tile's share is all that the gradient sees.
            counted = tf.where(missing, tf.zeros_like(gram), tf.stop_gradient(gram))
            return losses.squared_error(sums[tap] + (gram - counted), target.gram, target.factor), gram

        with tf.device(self.device), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(crop)
            owned = self._cut(crop, bounds, self.network.taps)
            parts, own = terms.by_tap(self.recipe, owned, content_term, style_term)
            values = tf.stack(parts)
            total = tf.tensordot(values, self.coefficients[:-1], axes=1)
        return values, tape.gradient(total, crop), own

    def _content_targets(self, number: int, piece: tiles.Piece) -> dict[str, tf.Tensor]:
        if self.plan.keeps_content:
            return {tap: target.features[number] for tap, target in self.content_targets.items()}
        crop = self.variable(self.content[piece.crop])
        return self.owned(crop, piece, list(self.content_targets))

    def passes(self, image: protocol.Image) -> protocol.Passes:
        """Raise NstError: layer by layer is for the whole image."""
        raise NstError("both passes layer by layer: expected an untiled objective; use tile off")
