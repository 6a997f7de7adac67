"""What drives the engine's core by hand: tests of plans, explanations, backtests, comparisons. No state that stays."""
