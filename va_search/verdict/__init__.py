"""Verdict on an ensemble: what to submit and why, what is unfinished or out of date, and what comes
next."""
