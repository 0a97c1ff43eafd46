"""The store of recordings: importers, annotations, folds, normalisation, segments."""
