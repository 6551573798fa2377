"""Small embedded models that run without a GPU or a model hub.

Each is a folder of the Hugging Face layout with a model card: `clip`, `vae` and `generator`. They
are loaded by the same code, through the same `from_pretrained`, as full-size ones.
"""

from __future__ import annotations

from pathlib import Path

from mindeye.errors import CheckpointError

MEMBERS = ("clip", "vae", "generator")


def zoo_folder(member: str) -> Path:
    """Return the folder of an embedded model.

    Raises
    ------
    CheckpointError
        If there is no such member, or its files did not come with the installation.
    """
    if member not in MEMBERS:
        raise CheckpointError(f"the zoo has no {member!r}; it has {', '.join(MEMBERS)}")
    folder = Path(__file__).parent / member
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing; install mindeye again from a whole checkout")
    return folder
