"""The dataflow: readers -> shards -> delivery and landing."""

from __future__ import annotations

from collections.abc import Callable

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flowops.channels import CHANNELS
from flowops.streaming.inputs import Inputs
from flowops.streaming.job import Job
from flowops.streaming.journal import Journals, with_journal
from flowops.streaming.metrics import Meter
from flowops.streaming.readers import Readers
from flowops.streaming.settings import Settings
from flowops.streaming.shards import Outcome, ShardSteps, ToChannel, ToNetwork, ToWarehouse
from flowops.streaming.sinks import Delivery, Landing
from flowops.streaming.statefolder import StateFolder


def dataflow(
    job: Job,
    settings: Settings,
    state: StateFolder,
    stopping: Callable[[], bool],
    on_end: Callable[[], None] | None = None,
    meter: Meter | None = None,
) -> Dataflow:
    """The engine for one project. `stopping` is asked before every chunk: true ends the run, its state saved.

    `on_end` is called when the landing has been closed, which happens only in a run that ends well. `meter` counts what
    happens in a live run.
    """
    project = job.project
    heard = with_journal(project) if job.networked else project
    own = {source.name: Journals(state.journal, source) for source in heard.sources[len(project.sources) :]}
    inputs = Inputs(
        heard, settings.folder, job.config.connections, follow=settings.follow, bounds=state.bounds, own=own
    )
    shared_epoch = settings.epoch_interval.total_seconds() if settings.workers > 1 else None
    readers = Readers(
        inputs,
        state,
        stopping,
        until=settings.until,
        meter=meter,
        durable=settings.durable,
        shared_epoch=shared_epoch,
    )
    channels = [CHANNELS[job.config.channels[channel.name].type] for channel in project.channels]
    shards = ShardSteps(
        project, state.shards, state.pace, channels, meter, networked=bool(job.networked), durable=settings.durable
    )

    flow = Dataflow("flowops")
    batches = op.input("read", flow, readers)
    outcomes = op.stateful_batch("shard", batches, shards)
    op.output(
        "deliver",
        op.filter_map("to_channel", outcomes, _to_channel),
        Delivery(job, state, meter, durable=settings.durable),
    )
    op.output(
        "land",
        op.filter_map("to_warehouse", outcomes, _to_warehouse),
        Landing(job.config.warehouse, project, state.published_at, on_end),
    )
    return flow


def _to_channel(item: tuple[str, Outcome]) -> tuple[str, ToChannel | ToNetwork] | None:
    _, outcome = item
    if isinstance(outcome, ToChannel):
        return outcome.channel, outcome
    return (f"/{outcome.writer}", outcome) if isinstance(outcome, ToNetwork) else None


def _to_warehouse(item: tuple[str, Outcome]) -> tuple[str, ToWarehouse] | None:
    _, outcome = item
    return ("landing", outcome) if isinstance(outcome, ToWarehouse) else None
