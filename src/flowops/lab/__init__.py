"""What drives the engine's core by hand: tests of plans, explanations, backtests. No dataflow, no state that stays."""
