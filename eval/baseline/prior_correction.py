"""Post-hoc prior correction for scikit-learn's logistic regression."""

import numpy as np
from scipy.sparse import spmatrix
from sklearn.linear_model import LogisticRegression


class PriorCorrectedLogistic(LogisticRegression):
    """Logistic regression that treats classes alike which it saw unequally often.

    From each score, the log of its class's share of the training texts is subtracted (Menon et al. 2021, post-hoc logit
    adjustment with tau 1), as `--prior_correction 1` does it for networks.
    """

    def fit(self, X: np.ndarray | spmatrix, y: np.ndarray) -> "PriorCorrectedLogistic":  # noqa: N803
        """Fit on features (N, F) and class ids (N,)."""
        super().fit(X, y)
        _, counts = np.unique(y, return_counts=True)
        self.log_prior_ = np.log(counts / len(y))
        return self

    def decision_function(self, X: np.ndarray | spmatrix) -> np.ndarray:  # noqa: N803
        """Corrected scores (N, C); with two classes (N,), positive for the second."""
        scores = super().decision_function(X)
        return scores - (self.log_prior_ if scores.ndim == 2 else self.log_prior_[1] - self.log_prior_[0])
