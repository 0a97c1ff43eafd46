"""The Python API behind `import va_search`; the commands of `cli/` call it too.

data        open, import, audit and divide stores
home        a home: names of its studies and ensembles, and its files where it is at a URL
searching   plan, preview, search
study       a study: trials, failures, curves, predictions
ensembles   build, compare, open: scores, members, submission, predictions of new recordings
progress    one line of progress in a terminal or a notebook, and a search's end in words
demo, reproduction   whole jobs: the simulated challenge, the paper
"""
