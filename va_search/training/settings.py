"""The settings of a trial under the name that older code knows: see va_search/trial_settings.py."""

from va_search.trial_settings import *  # noqa: F403
