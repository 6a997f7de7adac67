"""What settings of sources, channels and rules are made of: the base model, types of values, secrets, connections.

It lies below `channels` and `sources`, which cannot import each other, so that what both need is said once: how Kafka
and Redis are reached (`kafka`, `redis`) and where a password comes from (`secrets`). It is above `core` and knows no
file of rules: how a mistake becomes a finding with a place is the business of `flowops.rules.schema`.
"""
