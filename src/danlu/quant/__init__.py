"""Floor 3: the storages of frozen linear maps, found by name; their kind is ``danlu.nn.storages``."""
