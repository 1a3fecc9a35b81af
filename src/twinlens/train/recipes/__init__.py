"""Recipes: all settings of a run as frozen dataclasses."""
