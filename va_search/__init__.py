"""va-search: a distributed search over valence-arousal models, and the best ensemble per dimension
out of it."""

__version__ = "0.1.0"
