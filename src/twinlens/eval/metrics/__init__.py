"""Measures as pure functions of arrays, with intervals and paired tests."""
