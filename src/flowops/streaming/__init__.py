"""The engine on Bytewax: thin adapters around the core. The only place that imports bytewax."""
