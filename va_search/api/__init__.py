"""The Python API behind `import va_search`; the commands of `cli/` call it too.

data        open, import, audit and divide stores; extract features
home        a home: names of its studies and ensembles, and its files where it is at a URL
searching   plan, preview, search
study       a study: trials, failures, curves, predictions
ensembles   build, compare, open: scores, members, submission, predictions of new recordings
explaining  the files of an explanation
progress    one line of progress in a terminal or a notebook, and a search's end in words
demo        the whole job on a simulated challenge
reproduction  the paper's searches, submissions and tables
"""

import logging
import warnings

# In a notebook Ray and tqdm ask for ipywidgets, to show bars and tables of theirs. Nothing here
# shows those.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message="IProgress not found")
