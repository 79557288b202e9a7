"""Floor 1: names, specs, records, ports, errors, files and random streams; torch is met only in ``batch``."""
