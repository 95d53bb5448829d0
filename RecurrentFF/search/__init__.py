"""Searches: many short trainings whose configurations are chosen by Optuna, compared by their validation accuracy.

    from RecurrentFF.search import Float, Space, search

    space = Space({"optimizer.learning_rate": Float(low=1e-4, high=1e-2, log=True)})
    result = search("mnist_raw", space, trials=20)
    print(result)
    network = rff.build(result.best_settings)

It needs Optuna: pip install "RecurrentFF[search]". Optuna and torch are imported when a search begins.
"""

from RecurrentFF.search.api import SearchInterrupted, search
from RecurrentFF.search.domains import Categorical, Float, Int
from RecurrentFF.search.space import Space

__all__ = ["Categorical", "Float", "Int", "SearchInterrupted", "Space", "search"]
