"""Checks of the machine, its files and servers, for `va-search doctor`: what a search needs, and what
to do where something is wrong."""
