"""What is timed beside a step: the bare network, the tutorial's loop, a matrix product; nst_spec.backend.Workload.

The tutorial is "Neural Transfer Using PyTorch" (A. Jacq, pytorch.org), from its facts: loss modules between the layers
of a `Sequential` pass their input on and keep their loss; each Gram matrix is divided by its elements and compared by
`mse_loss`; a step is one closure, which clamps the image and calls `backward` on the weighted sum.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nst_spec import backend as protocol
from nst_spec import preprocessing, vgg19
from nst_spec import recipe as recipes
from nst_torch.objective import Objective, PixelMap, Recorded


class Workload:
    """What is timed of a problem; nst_spec.backend.Workload."""

    def __init__(self, problem: protocol.Problem, objective: Objective) -> None:
        self.problem, self.objective = problem, objective
        self.device = objective.like.device

    def loss_pass(self) -> protocol.Work:
        """Losses and gradient of the content image, as a step computes them, nothing read from the device."""
        variable = self.objective.variable(self.problem.content)
        return lambda: self.objective.loss_and_gradient(variable)

    def bare_pass(self) -> protocol.Work:
        """The network to its deepest tap and back to the image, with the plain sum of that tap for a loss."""
        objective = self.objective
        deepest = self.problem.recipe.taps[-1]
        image = objective.to_network(objective.variable(self.problem.content))

        def gradient(image: Tensor) -> Tensor:
            image = image.detach().requires_grad_(True)
            ((_, features),) = objective.network(image, [deepest])
            return torch.autograd.grad(features.sum(), image)[0]

        recorded = Recorded()
        return lambda: recorded(gradient, image) if objective.recorded else gradient(image)

    def tutorial_step(self) -> protocol.Work:
        """A step of the loop in the framework's own tutorial, in float32, with the recipe's taps and pooling."""
        settings = self.problem.recipe.optimizer
        content, style = (self._image(image) for image in (self.problem.content, self.problem.styles[0]))
        model, content_losses, style_losses = _tutorial_model(self.problem, content, style)
        image = content.clone().requires_grad_(True)
        optimizer: torch.optim.Optimizer
        if isinstance(settings, recipes.Adam):
            optimizer = torch.optim.Adam([image], lr=settings.lr)
        else:
            optimizer = torch.optim.LBFGS([image], max_iter=1)
        content_weight, style_weight, _ = self.problem.recipe.term_weights

        def closure() -> Tensor:
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            model(image)
            style_score = sum(layer.loss for layer in style_losses)
            content_score = sum(layer.loss for layer in content_losses)
            loss = style_weight * style_score + content_weight * content_score
            loss.backward()
            return loss

        return lambda: optimizer.step(closure)

    def _image(self, image: protocol.Image) -> Tensor:
        return torch.tensor(image, dtype=torch.float32, device=self.device).permute(2, 0, 1)[None].contiguous()

    def matrix_product(self, side: int) -> protocol.Work:
        """The product of two (side, side) matrices, in what the network computes in."""
        a, b = (torch.rand(side, side, device=self.device).to(self.objective.network_dtype) for _ in range(2))
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn

        def work() -> Tensor:
            before = products.allow_tf32
            # A run multiplies so in its convolutions alone.
            products.allow_tf32 = convolutions.allow_tf32
            try:
                return a @ b
            finally:
                products.allow_tf32 = before

        return work

    def finish(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def peak_memory(self) -> int | None:
        """Return the most bytes that the device has held at a time, or None where the framework does not count."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


class _Normalization(nn.Module):
    def __init__(self, to_network: PixelMap) -> None:
        super().__init__()
        self.to_network = to_network

    def forward(self, x: Tensor) -> Tensor:
        return self.to_network(x)


class _ContentLoss(nn.Module):
    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target.detach()

    def forward(self, x: Tensor) -> Tensor:
        self.loss = functional.mse_loss(x, self.target)
        return x


class _StyleLoss(nn.Module):
    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = _tutorial_gram(target).detach()

    def forward(self, x: Tensor) -> Tensor:
        self.loss = functional.mse_loss(_tutorial_gram(x), self.target)
        return x


def _tutorial_gram(x: Tensor) -> Tensor:
    batch, channels, height, width = x.size()
    features = x.view(batch * channels, height * width)
    return torch.mm(features, features.t()).div(batch * channels * height * width)


def _tutorial_layer(name: str, problem: protocol.Problem) -> nn.Module:
    # Of its own and not the backend's Network, which may know tricks that the tutorial does not.
    if name in vgg19.CONVOLUTIONS:
        kernel, bias = (torch.tensor(problem.weights.arrays[f"{name}.{part}"]) for part in ("weight", "bias"))
        layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], vgg19.KERNEL_SIZE, padding=1)
        layer.load_state_dict({"weight": kernel, "bias": bias})
        return layer
    if name.startswith("relu"):
        return nn.ReLU(inplace=False)
    pooling = nn.AvgPool2d if problem.recipe.pooling.kind == "average" else nn.MaxPool2d
    return pooling(kernel_size=2, stride=2, ceil_mode=problem.recipe.pooling.rounding == "ceil")


def _tutorial_model(
    problem: protocol.Problem, content: Tensor, style: Tensor
) -> tuple[nn.Sequential, list[_ContentLoss], list[_StyleLoss]]:
    """Return the network with its loss modules, their targets computed by the part that is there already."""
    recipe = problem.recipe
    model = nn.Sequential(_Normalization(PixelMap(preprocessing.affine("unit", problem.preprocessing), content)))
    content_losses, style_losses = [], []
    for name in vgg19.layers_to(recipe.taps):
        model.append(_tutorial_layer(name, problem).to(content.device))
        if name in recipe.content.taps:
            content_losses.append(_ContentLoss(model(content)))
            model.append(content_losses[-1])
        if name in recipe.style.taps:
            style_losses.append(_StyleLoss(model(style)))
            model.append(style_losses[-1])
    return model.eval().requires_grad_(False), content_losses, style_losses
