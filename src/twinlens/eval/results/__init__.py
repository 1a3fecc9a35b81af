"""Results of evaluations: on disk, compared, beside reference figures."""
