"""Floor 2: how good a model is: perplexity and multiple choice, asked of any ``Scorer``, never of the engine itself."""

from .choice import Report, choose
from .perplexity import Perplexity, perplexity
from .tasks import TASKS, Form, Task, open_task

__all__ = ["TASKS", "Form", "Perplexity", "Report", "Task", "choose", "open_task", "perplexity"]
