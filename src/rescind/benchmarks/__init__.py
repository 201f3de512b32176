"""Benchmarks: real data, a recipe, forget sets, every method beside its controls."""
