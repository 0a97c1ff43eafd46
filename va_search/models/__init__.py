"""Encoders, fusion and heads, with the menus of their names."""
