"""Recipes: everything that decides a run, as frozen configurations."""
