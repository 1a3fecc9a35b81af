"""Measures: prompts, metrics, zero-shot classification and reports."""
