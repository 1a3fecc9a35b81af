"""The command line: one module for each verb, and the modules that verbs share."""
