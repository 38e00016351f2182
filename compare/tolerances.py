"""How large an error may be: tolerances.toml, read once."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict

Limited = Literal["output", "gram", "term", "gradient", "flipped-gradient", "length"]


class Tolerance(BaseModel):
    """A limit, the worst error that was measured, and the reason for the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    limit: float
    measured: float
    reason: str


class Tolerances(BaseModel):
    """The whole file: limits by profile and quantity, and the judgement of trajectories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profiles: Mapping[str, Mapping[Limited, Tolerance]]
    trajectory: Tolerance
    first_step: int
    lost: float

    def limit(self, profile: str, quantity: Limited) -> float:
        """Return the greatest error that passes."""
        return self.profiles[profile][quantity].limit


def _read() -> Tolerances:
    text = resources.files("compare").joinpath("tolerances.toml").read_text(encoding="utf-8")
    return Tolerances.model_validate(tomllib.loads(text))


TOLERANCES = _read()
