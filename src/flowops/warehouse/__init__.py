"""Outcomes for analysts: immutable Parquet segments, and a DuckDB file of views over them.

The only place that imports duckdb.
"""
