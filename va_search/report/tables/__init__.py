"""The tables of a report, as the paper numbers them."""
