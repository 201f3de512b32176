"""For authors of plug-ins and backends: conformance checks, contracts, tiny models."""
