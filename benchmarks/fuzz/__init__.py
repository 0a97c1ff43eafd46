"""Malformed files handed to every reader of what users hand in: each ends in a refusal or in a
right result.

    make fuzz                                          20,000 and more inputs, half an hour
    cd benchmarks && python -m fuzz --inputs 600       a short run
    cd benchmarks && python -m fuzz --replay spaces:17 one input again, in this process, with its traceback

valid.py       small valid inputs of every kind, made here
targets.py     the readers: which files of an input are spoiled, how it is read, what its result is
formats.py     files of single formats: arrays, models, media, answers of servers
made.py        what va-search itself made: stores, banks, ensembles, submissions
bombs.py       small files that claim or unpack to much
mutations.py   how a file is spoiled, and changes that mean nothing and must change nothing
process.py     the process that reads, with limits on time and memory, started again when it dies

Conventions: input `n` of a target follows from the seed, the target's name and `n` alone. A run is
right when no input crashes a reader (an exception that is neither InputError nor JobError), takes
10 s or 1 GB, or is read otherwise than the unspoiled input although its change means nothing."""
