"""Training: to tell textures apart by the statistics of their features, and to keep the shapes of what is seen."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import PCG64, Generator
from torch import Tensor, nn

from training import crops, pictures
from training.export import export
from training.network import CLASS_TAPS, SHAPE_TAPS, Trainee


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, but for the machine's arithmetic."""

    seed: int = 0
    widths: tuple[int, ...] = (24, 48, 96, 128, 128)
    textures: int = 3000
    scenes: int = 600
    size: int = 256
    side: int = 64
    textures_per_step: int = 104
    scenes_per_step: int = 24
    steps: int = 1800
    lr: float = 4e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    shapes: float = 2.0

    @property
    def command(self) -> str:
        """What repeats the training, typed."""
        changed = {name: value for name, value in asdict(self).items() if value != getattr(Settings(), name)}
        typed = [f" --{name.replace('_', '-')} {value}" for name, value in changed.items() if name != "widths"]
        widths = f" --widths {' '.join(map(str, self.widths))}" if "widths" in changed else ""
        return f"python -m training.train -o embedded.safetensors{''.join(typed)}{widths}"


@dataclass(frozen=True)
class Report:
    """What a stretch of training came to: the loss; by tap, the share of crops told right and the relief's error."""

    step: int
    seconds: float
    loss: float
    accuracy: dict[str, float]
    shapes: dict[str, float]


def losses(network: Trainee, batch: crops.Batch, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, and its parts by what they are called in a Report."""
    features = network(batch.coloured)
    expected = batch.classes
    parts, terms = {}, []
    for tap in CLASS_TAPS:
        scores = network.classes[tap](features[tap][: len(expected)])
        terms.append(nn.functional.cross_entropy(scores, expected, label_smoothing=settings.smoothing))
        parts[f"accuracy {tap}"] = (scores.argmax(dim=1) == expected).float().mean()
    # What lies at a place is the same in any colours.
    relief = crops.relief(batch.plain)
    for tap in SHAPE_TAPS:
        found = network.shapes[tap](features[tap])
        wanted = nn.functional.avg_pool2d(relief, relief.shape[-1] // found.shape[-1])
        error = (found - wanted).square().mean() / wanted.square().mean()
        terms.append(settings.shapes * error)
        parts[f"shapes {tap}"] = error
    return torch.stack(terms).sum(), parts


def train(
    settings: Settings, folder: Path, *, device: str = "cpu", every: int = 100
) -> Iterator[tuple[Trainee, Report]]:
    """Train, and give the network after every stretch of steps and at the end; pictures are kept in the folder."""
    textures = pictures.training_textures(settings.textures, settings.size, folder)
    scenes = pictures.training_scenes(settings.scenes, settings.size, folder)
    torch.manual_seed(settings.seed)
    rng = Generator(PCG64(settings.seed))
    network = Trainee(settings.widths, settings.textures).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, settings.steps, pct_start=0.15)
    counts = (settings.textures_per_step, settings.scenes_per_step)
    began, seen = time.monotonic(), []
    for step in range(1, settings.steps + 1):
        batch = crops.batch(rng, textures, scenes, counts, settings.side).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" or torch.cpu._is_amx_tile_supported()):
            loss, parts = losses(network, batch, settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seen.append({"loss": loss.item()} | {name: value.item() for name, value in parts.items()})
        if step % every == 0 or step == settings.steps:
            means = {name: float(np.mean([entry[name] for entry in seen])) for name in seen[0]}
            by_kind = {
                kind: {name.split()[1]: round(value, 4) for name, value in means.items() if name.startswith(kind)}
                for kind in ("accuracy", "shapes")
            }
            yield network, Report(step, round(time.monotonic() - began), round(means["loss"], 3), **by_kind)
            seen = []


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says, and write the network whenever it is reported on."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--pictures", type=Path, default=Path("."), help="folder that keeps the rendered pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--every", type=int, default=100, help="steps between reports")
    for name, default in asdict(Settings()).items():
        if name == "widths":
            parser.add_argument("--widths", type=int, nargs="+", default=default)
        else:
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args(arguments))
    output, folder, device, every = (given.pop(name) for name in ("output", "pictures", "device", "every"))
    settings = Settings(**given | {"widths": tuple(given["widths"])})
    for network, report in train(settings, folder, device=device, every=every):
        print(json.dumps(asdict(report)), flush=True)
        record = {"command": settings.command, "settings": asdict(settings), "report": asdict(report)}
        export(network, output, record)


if __name__ == "__main__":
    main()
