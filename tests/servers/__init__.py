"""Real servers for tests and benchmarks: Kafka and Redis, on free ports of this machine, started and stopped as needed.

`fetch` finds or fetches the programs, `process` runs one, `kafka` and `redis` know how theirs is started and asked,
`skip` decides what becomes of a test whose server is not there.
"""
