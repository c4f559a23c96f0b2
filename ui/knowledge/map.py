"""Vectors on a plane: the two directions in which they differ most (principal components)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 3000
"""Points that are drawn; of more, every n-th."""


def plane(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, NDArray[np.float32], NDArray[np.float32]]:
    """Points of shape (n, 2), the share of the variance that they show, the mean, and the two directions (2, d)."""
    mean = vectors.mean(0)
    centred = vectors - mean
    # Of d directions two are wanted: the covariance of d × d is small, however many vectors there are.
    values, directions = np.linalg.eigh(centred.T @ centred)
    two = directions[:, [-1, -2]].T.astype(np.float32)
    total = float(values.sum())
    share = float(values[-2:].sum()) / total if total > 0 else 0.0
    return centred @ two.T, share, mean, two
