"""Benchmarks: what tenancy, metering and limits cost beside a bare LiteLLM, and how fast usage is sealed."""
