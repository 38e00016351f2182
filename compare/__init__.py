"""The cross-check: record what a backend computes (`record`), and say where two records part (`diff`)."""
