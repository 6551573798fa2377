"""What `mindeye evaluate --reconstructions` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mindeye.errors import UsageError

RANGES = ("auto", "0..1", "0..255", "-1..1")
ALPHAS = ("white", "black", "refuse")
RESERVED = ("seen", "nearest training")
"""Labels of the contact sheet that no system may take."""


@dataclass(frozen=True)
class ExternalConfig:
    """Whose pictures are scored against what, and how.

    Parameters
    ----------
    systems
        Name and path of every set of reconstructions: a folder of images, .npy, .npz, .pt or
        .safetensors.
    stimuli
        Pictures that were shown: a folder of images, .npy, .npz, .pt or .safetensors.
    out
        Folder to write the scores to.
    training_pictures
        Pictures shown in training, for the scores of showing one of them instead.
    weights
        Folder searched for the networks' weights before the usual caches.
    size
        Side in pixels at which pixel metrics compare; 0 compares at the stimuli's own size.
    predicted, target
        Files of embeddings (S, D) or (S, K, D) as .npy, predicted from the brain and of the
        pictures, for retrieval.
    range, stimuli_range
        Range of the numbers in arrays of reconstructions, and of stimuli and training pictures;
        ``auto`` takes bytes and floats within 0..1.
    alpha
        What lies behind transparent pictures: white, black, or refuse.
    as_published
        Bring pictures to 256 px first as the authors' script does, and add published names.
    resamples, seed
        Bootstrap resamples over stimuli; seed of resamples and shuffles.
    k
        Candidates generated per stimulus, of which one was picked.
    """

    systems: tuple[tuple[str, Path], ...]
    stimuli: Path
    out: Path
    training_pictures: Path | None = None
    weights: Path | None = None
    size: int = 425
    predicted: Path | None = None
    target: Path | None = None
    range: str = "auto"
    stimuli_range: str = "auto"
    alpha: str = "white"
    as_published: bool = False
    resamples: int = 2000
    seed: int = 0
    k: int = 1

    def __post_init__(self) -> None:
        names = [name for name, _ in self.systems]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names:
            raise UsageError("--reconstructions needs at least one folder or file")
        if twice:
            raise UsageError(f"two systems are called {twice[0]!r}; name them: NAME=PATH")
        if set(names) & set(RESERVED):
            raise UsageError(f"no system may be called {' or '.join(RESERVED)}")
        if (self.predicted is None) != (self.target is None):
            raise UsageError("--predicted and --target come together")
        if self.predicted is not None and len(names) > 1:
            raise UsageError("--predicted belongs to one system; give one of --reconstructions")
        for field, choices in (("range", RANGES), ("stimuli_range", RANGES), ("alpha", ALPHAS)):
            if getattr(self, field) not in choices:
                raise UsageError(
                    f"--{field.replace('_', '-')} {getattr(self, field)} is unknown; one of "
                    f"{', '.join(choices)}"
                )
        for field, least in (("size", 0), ("resamples", 1), ("seed", 0), ("k", 1)):
            if getattr(self, field) < least:
                raise UsageError(f"--{field} must be at least {least}, not {getattr(self, field)}")
        if 0 < self.size < 11 or self.size > 4096:
            raise UsageError(
                f"--size must be 0 or from 11 (SSIM's window) to 4096, not {self.size}"
            )
        if (self.out / "run.json").is_file():
            raise UsageError(f"{self.out} is a run; its scores would be lost, choose another --out")
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; --out is a folder")


def named_paths(words: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Read ``[NAME=]PATH`` words; without a name it is that of the folder or file.

    Raises
    ------
    UsageError
        If a name or path is empty, or a name could not stand in a table.

    Examples
    --------
    >>> [name for name, _ in named_paths(["ours=a/b.pt", "c/recons.npy"])]
    ['ours', 'recons']
    """
    systems = []
    for word in words:
        name, equals, rest = word.partition("=")
        if not equals or Path(word).exists():
            rest, name = word, Path(word).resolve().stem if word else ""
        if not name.strip() or not rest or not name.isprintable():
            raise UsageError(f"{word!r} is no [NAME=]PATH of reconstructions")
        systems.append((name, Path(rest)))
    return tuple(systems)
