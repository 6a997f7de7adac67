"""The trigger engine for Bytewax's own runner: `python -m bytewax.run dataflows/trigger_engine.py`.

It replays the project of the current folder, or of `FLOWOPS_PROJECT`; add `-r STORE -s 10 -b 0` for recovery (see
docs/deploy.md). `flowops replay` runs the same dataflow with progress, several processes and recovery set up.
"""

from flowops.streaming.embed import build

flow = build()
