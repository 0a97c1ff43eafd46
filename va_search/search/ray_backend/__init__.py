"""Everything of Ray's and Tune's: a Ray is started or joined here, trials are trained on it, and
what became of them is reported as events (`va_search.search.events`).

No other module of the search imports Ray, and none in here knows a budget, the bank's contents or
the order of trials. Importing a module of this package may take seconds (Ray, torch): callers
import it once there is something to train."""
