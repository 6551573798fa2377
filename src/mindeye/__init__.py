"""MindEye: from fMRI betas to the picture that was seen."""

from __future__ import annotations

__version__ = "0.1.0"
