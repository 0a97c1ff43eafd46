"""Homes and stores at URLs: one place that all nodes reach, and a working copy on the disk of
each."""
