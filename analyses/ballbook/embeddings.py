r"""Maps of samples in two dimensions: principal components, t-SNE and UMAP.

*t-SNE* (van der Maaten and Hinton, J Mach Learn Res 2008;9:2579) places samples so that the chance
of being neighbours, Gaussian in the data with a width that gives each sample the same *perplexity*
(about the number of neighbours it takes part in) and Student's t on one degree of freedom in the
map, disagrees least by the Kullback-Leibler divergence. *UMAP* (McInnes et al., J Open Source Softw
2018;3:861) does the like with a graph of the *n* nearest neighbours and the cross-entropy of its
edges. Neither keeps distances between groups: see `ballbook.neighbourhoods` for what can be asked.

scikit-learn draws t-SNE, and scanpy (Wolf et al., Genome Biol 2018;19:15) by umap-learn UMAP, on
one thread: with several, sums are added in another order each time and the map changes. Even so
coordinates are those of one machine and one version, and no claim is judged by them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ballbook.inputs import Floats

EXAGGERATION = 12.0
# Beyond this scanpy searches a graph, whose neighbours are not all the nearest.
EXACT_BY_DEFAULT = 8192


def principal_components(data: ArrayLike, n: int) -> Floats:
    """Return the first `n` principal components of samples x variables, centred, not scaled.

    The sign of each makes its largest loading positive. With fewer samples or variables, all there
    are.
    """
    x = np.asarray(data, dtype=float)
    x = x - x.mean(axis=0)
    # The smaller of the two cross products has the same roots, and samples are few.
    wide = x.shape[1] > x.shape[0]
    roots, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = np.argsort(-roots, kind="stable")[: min(n, min(x.shape))]
    scores = vectors[:, keep] * np.sqrt(roots[keep].clip(0)) if wide else x @ vectors[:, keep]
    loadings = x.T @ vectors[:, keep] if wide else vectors[:, keep]
    sign = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(len(keep))])
    return np.asarray(scores * np.where(sign == 0, 1, sign))


def standardised(data: ArrayLike) -> Floats:
    """Return variables with mean 0 and standard deviation 1; constant ones are left out."""
    x = np.asarray(data, dtype=float)
    spread = x.std(axis=0, ddof=1)
    keep = spread > 1e-12
    return np.asarray((x[:, keep] - x[:, keep].mean(axis=0)) / spread[keep])


def tsne(
    data: ArrayLike,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    start: Literal["components", "random"] = "components",
) -> Floats:
    """Return a t-SNE map, samples x 2.

    The learning rate is n / 12 / 4, at least 50 (Belkina et al., Nat Commun 2019;10:5415).

    Parameters
    ----------
    data : array_like of float, samples x variables
    perplexity : float
    seed : int
    start : {"components", "random"}
        Started from the first two principal components the seed hardly matters; a random start
        shows what else the same data may look like.

    Raises
    ------
    ValueError
        If the perplexity is not below the number of samples.
    """
    x = np.asarray(data, dtype=np.float32)
    if not 0 < perplexity < len(x):
        raise ValueError(f"perplexity: expected above 0 and below {len(x)}, got {perplexity:g}")
    rate = max(len(x) / EXAGGERATION / 4, 50.0)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        fit = TSNE(
            perplexity=perplexity, early_exaggeration=EXAGGERATION, learning_rate=rate,
            init="random" if start == "random" else "pca", random_state=seed, n_jobs=1,
        )  # fmt: skip
        return np.asarray(fit.fit_transform(x), dtype=float)


def umap(data: ArrayLike, *, neighbours: int = 15, seed: int = 0) -> Floats:
    """Return a UMAP map, samples x 2.

    Raises
    ------
    ValueError
        If there are not more samples than neighbours.
    """
    x = np.asarray(data, dtype=np.float32)
    if not 2 <= neighbours < len(x):
        raise ValueError(f"neighbours: expected 2 to {len(x) - 1}, got {neighbours}")

    import warnings

    import anndata
    import scanpy
    from threadpoolctl import threadpool_limits

    samples = anndata.AnnData(x)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.neighbors(
            samples, n_neighbors=neighbours, use_rep="X", random_state=seed,
            transformer=_exact(neighbours) if len(x) > EXACT_BY_DEFAULT else None,
        )  # fmt: skip
        scanpy.tl.umap(samples, random_state=seed)
    return np.asarray(samples.obsm["X_umap"], dtype=float)


def _exact(neighbours: int) -> Any:
    """Return a finder of all nearest neighbours whose matrix is of the kind that scanpy reads."""
    from scipy.sparse import csr_matrix
    from sklearn.neighbors import KNeighborsTransformer

    class Exact(KNeighborsTransformer):
        def fit_transform(self, x: Any, y: Any = None) -> Any:
            return csr_matrix(super().fit_transform(x, y))

    return Exact(n_neighbors=neighbours, algorithm="brute")
