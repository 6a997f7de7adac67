"""Real servers for tests and benchmarks: on free ports of this machine, started and stopped as needed.

Kafka, Redis, and a registry of schemas.

`fetch` finds or fetches the programs, `process` runs one, `kafka`, `redis` and `registry` know how theirs is started
and asked, `skip` decides what becomes of a test whose server is not there.
"""
