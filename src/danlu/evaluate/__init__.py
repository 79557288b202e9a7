"""Floor 2: how good a model is, asked of any ``Scorer``, never of the engine itself.

Perplexity, multiple choice, forgetting, loss by position and recall by distance.
"""

from .by_position import ByPosition, by_position
from .choice import Report, choose
from .forgetting import Change, forgetting
from .perplexity import Perplexity, perplexity
from .recall import Recall, recall
from .tasks import TASKS, Form, Task, open_task

__all__ = [
    "TASKS",
    "ByPosition",
    "Change",
    "Form",
    "Perplexity",
    "Recall",
    "Report",
    "Task",
    "by_position",
    "choose",
    "forgetting",
    "open_task",
    "perplexity",
    "recall",
]
