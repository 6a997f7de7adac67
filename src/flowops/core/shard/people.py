"""Who is who (S2a): ids that lead to users, and users who turn out to be one."""

from __future__ import annotations

from collections.abc import Sequence

from flowops.core.effects import Link
from flowops.core.joining import join
from flowops.core.plan import Project
from flowops.core.records import BEFORE_ALL, LINK, POSITION_BITS, DeadLetter, Micros, Record
from flowops.core.shard.agenda import Agenda
from flowops.core.shard.hearing import Hearing

_SAMPLE = 200


class People(Agenda):
    """Lets each record be the user's whom its id leads to, and joins users."""

    def __init__(self, number: int, project: Project, hearing: Hearing) -> None:
        super().__init__(number, project, hearing)
        self._date_matchers = list(dict.fromkeys(each for those in self._dates.values() for each in those))

    def _led(self, records: Sequence[Record]) -> list[Record]:
        """The records, in their order, each with the user whom its id leads to at its place.

        Without the links that say nothing new. A repeat (S4) is told by the id that it bears, whomever that leads to.
        """
        led: list[Record] = []
        seen: set[tuple[Micros, str, str, tuple[int, ...]]] = set()
        for record in records:
            at, sequence, named, ts, event_id, values, hits = record
            if hits == LINK and not self._leads(record):
                continue
            if hits[0] >= 0:
                this = at, named, event_id, hits
                if this in seen:
                    continue
                seen.add(this)
            user_id = self._identities.user_of(named)
            led.append(record if user_id == named else (at, sequence, user_id, ts, event_id, values, hits))
        return led

    def _leads(self, record: Record) -> bool:
        """Take a link; whether its identity leads elsewhere by it. One that leads in a circle is refused."""
        _, sequence, user_id, ts, _, (identity, source, partition), _ = record
        said = self._identities.take(identity, user_id, ts)
        if said == "circle":
            position = sequence & ((1 << POSITION_BITS) - 1)
            what = f"`{identity}` would lead to itself" + ("" if identity == user_id else f", by way of `{user_id}`")
            sample = f"{identity} -> {user_id}"[:_SAMPLE]
            self._effects.dead.append(DeadLetter(source, partition, position, "circle", what, sample))
        elif said == "leads":
            self._effects.links.append(Link(identity, user_id, ts if ts > BEFORE_ALL else None))
        return said == "leads"

    def _join(self, record: Record) -> None:
        """What is remembered of the identity, as a user of its own, is the user's from now on."""
        at, _, user_id, _, _, (identity, *_), _ = record
        other = self._users.find(identity)
        if other is None:
            return
        user = self._users.find(user_id) or self._users.create(user_id)
        join(user, other, identity, at, self._matchers, self.project.counters)
        self._users.remove(identity)
        for sent in other.sent:
            self._sent_to[sent.trigger_id] = user_id
        self._expect(user_id, user, self._date_matchers, at)
        self._rearm(user_id, user)
