"""The command line: one small module a verb, which parses, calls and prints."""
