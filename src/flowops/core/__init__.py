"""The engine: pure and deterministic. No clock, no I/O, no randomness, no framework."""
