"""How a loss scale moves; the kind and its registry stand one folder up, beside the precisions that use them."""

from .. import SCALES, Scale

__all__ = ["SCALES", "Scale"]
