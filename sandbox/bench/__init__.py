"""Benchmarks: what tenancy, metering and limits cost beside a bare LiteLLM."""
