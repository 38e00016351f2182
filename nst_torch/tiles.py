"""The objective tile by tile: bounded activations, the same losses and gradient; nst_spec.tiles says why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from nst_spec import backend as protocol
from nst_spec import heap, terms, tiles
from nst_spec.errors import NstError
from nst_spec.memory import Plan
from nst_torch import losses
from nst_torch.objective import Objective

Item = TypeVar("Item")

Tensors = Mapping[str, Tensor]
"""Tensors by tap."""

TOGETHER = 8
"""Tiles that are computed before what the process keeps of freed memory goes back, since their sizes leave gaps."""


class TiledObjective(Objective):
    """A problem whose networks see one tile at a time; nst_spec.backend.Objective."""

    def __init__(self, problem: protocol.Problem, plan: Plan, **how: Any) -> None:
        self._channels = problem.channels
        super().__init__(problem, plan, **how)

    def pieces(self, image: Tensor) -> tuple[tiles.Piece, ...]:
        """Return the tiles of an image (1, 3, H, W)."""
        height, width = image.shape[2:]
        return tiles.split(height, width, self.plan.tile, self.recipe.taps)

    def owned(self, crop: Tensor, piece: tiles.Piece, taps: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the taps with the features that a tile owns, for its crop of the variable."""
        rounding = self.recipe.pooling.rounding
        for tap, features in self.network(self.to_network(crop), taps):
            rows, columns = piece.owned(tap, rounding)
            height, width = features.shape[2:]
            # Not by indices, whose gradient loses the features' layout.
            cut = -columns.start, columns.stop - width, -rows.start, rows.stop - height
            yield tap, functional.pad(features, cut)

    def content_features(self, image: Tensor) -> dict[str, tuple[tuple[Tensor, ...], float]]:
        """Return the variable's features at the content taps by tile, each tap's with its energy.

        There are none where they are too large to keep.
        """
        taps = list(self.recipe.content.taps)
        kept: dict[str, list[Tensor]] = {tap: [] for tap in taps}
        energies = dict.fromkeys(taps, 0.0)
        for piece in _in_turn(self.pieces(image)):
            for tap, features in self.owned(image[:, :, *piece.crop], piece, taps):
                energies[tap] += float(features.to(self.like.dtype).square().sum())
                if self.plan.keeps_content:
                    kept[tap].append(features)
        return {tap: (tuple(kept[tap]), energies[tap]) for tap in taps}

    def grams(self, image: Tensor, divisors: Mapping[str, float]) -> dict[str, Tensor]:
        """Return the variable's Gram matrices, without a gradient, at the taps that have a divisor."""
        return self._rounded(self._sums(image, self.pieces(image), divisors))

    @torch.no_grad()
    def _sums(self, image: Tensor, pieces: Iterable[tiles.Piece], divisors: Mapping[str, float]) -> dict[str, Tensor]:
        # In place: what is new and stays, amid what a tile has freed, leaves gaps that the next does not fill.
        sums = {tap: self.like.new_zeros((self._channels[tap],) * 2, dtype=self._sums_dtype) for tap in divisors}
        for piece in _in_turn(pieces) if divisors else ():
            for tap, features in self.owned(image[:, :, *piece.crop], piece, list(divisors)):
                sums[tap] += losses.gram(features, divisors[tap])
        return sums

    @property
    def _sums_dtype(self) -> torch.dtype:
        # Sums over many tiles must not lose what a sum over all positions at once would keep.
        return self.like.dtype if self.like.device.type == "mps" else torch.float64

    def _rounded(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {tap: total.to(self.like.dtype) for tap, total in sums.items()}

    def _loss_and_gradient(self, variable: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x = variable.detach()
        *others, last = enumerate(self.pieces(x))
        divisors = {tap: target.divisor for tap, target in self.style_targets.items()}
        sums = self._sums(x, (piece for _, piece in others), divisors)
        tv, gradient = self._tv_and_gradient(x)
        content = x.new_zeros(len(self.content_targets), dtype=self._sums_dtype)
        # The last tile completes the Gram matrices, so its forward pass serves both passes.
        for number, piece in _in_turn((last, *others)):
            missing = piece is last[1]
            targets = self._content_targets(number, piece)
            values, share, own = self._share(x[:, :, *piece.crop], piece, targets, self._rounded(sums), missing)
            if missing:
                sums = {tap: sums[tap] + gram for tap, gram in own.items()}
            gradient[:, :, *piece.crop] += share
            content += values[: len(content)]
            del share, own  # or they lie amid what the next tile takes, and leave gaps
        values = torch.cat([content.to(x.dtype), values[len(content) :], tv[None]])
        return values, gradient, self._rounded(sums)

    @torch.enable_grad()
    def _share(
        self, crop: Tensor, piece: tiles.Piece, targets: Tensors, sums: Tensors, missing: bool
    ) -> tuple[Tensor, Tensor, Tensors]:
        """Return the terms' values, the crop's share of the gradient, and the tile's own Gram matrices.

        `sums` are the image's Gram matrices, from which the tile's own may be missing.
        """
        crop = crop.clone().requires_grad_(True)

        def content_term(tap: str, features: Tensor) -> Tensor:
            return losses.squared_error(features, targets[tap], self.content_targets[tap].factor)

        def style_term(tap: str, features: Tensor) -> tuple[Tensor, Tensor]:
            target = self.style_targets[tap]
            gram = losses.gram(features, target.divisor)
            # The whole image's, of which this tile's share is all that the gradient sees.
            whole = sums[tap] + (gram if missing else gram - gram.detach())
            return losses.squared_error(whole, target.gram, target.factor), gram

        owned = self.owned(crop, piece, self.network.taps)
        parts, own = terms.by_tap(self.recipe, owned, content_term, style_term)
        values = torch.stack(parts)
        (share,) = torch.autograd.grad(values @ self.coefficients[:-1], crop)
        return values.detach(), share, {tap: gram.detach() for tap, gram in own.items()}

    def _content_targets(self, number: int, piece: tiles.Piece) -> dict[str, Tensor]:
        if self.plan.keeps_content:
            return {tap: target.features[number] for tap, target in self.content_targets.items()}
        with torch.no_grad():
            crop = self.variable(self.content[piece.crop])
            return dict(self.owned(crop, piece, list(self.content_targets)))

    def passes(self, image: protocol.Image) -> protocol.Passes:
        """Raise NstError: layer by layer is for the whole image."""
        raise NstError("both passes layer by layer: expected an untiled objective; use tile off")


def _in_turn(items: Iterable[Item]) -> Iterator[Item]:
    for number, item in enumerate(items):
        if number % TOGETHER == 0:
            heap.give_back()
        yield item
    heap.give_back()
