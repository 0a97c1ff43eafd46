"""The prediction bank: written by search, read by ensemble, known to neither."""
