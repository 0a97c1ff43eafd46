"""Test predictions in a challenge's format: one ensemble's, or those of the paper's five
strategies."""

from va_search.ensemble.saved import predict
from va_search.submission.writing import Submission, submit

__all__ = ["Submission", "predict", "submit"]
