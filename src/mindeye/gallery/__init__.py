"""Galleries: pictures by the million, looked up by embedding; back-ends behind one protocol."""

from mindeye.gallery.base import Backend, Matches
from mindeye.gallery.store import Gallery, open_gallery

__all__ = ["Backend", "Gallery", "Matches", "open_gallery"]
