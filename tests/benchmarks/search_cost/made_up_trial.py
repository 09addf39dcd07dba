"""The type of what makes up trials."""

from collections.abc import Callable

from benchmarks.search_cost.cost import Trial

Make = Callable[..., Trial]
