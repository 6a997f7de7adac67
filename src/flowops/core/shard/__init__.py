"""One shard of users, in layers; each knows only those below it. Read `order` first.

`order`: records and timers in event time. `people`: who is who. `agenda`: what the calendar begins. `acting`: what has
come to its turn. `journeys`: several messages. `sending`: one message. `returns`: what comes back of it. `base`: what
they all stand on. Beside them `hearing`: what each event does by the rules, for all shards.
"""

from flowops.core.shard.hearing import Hearing
from flowops.core.shard.order import Shard

__all__ = ["Hearing", "Shard"]
