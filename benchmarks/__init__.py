"""Results of `nst bench`, and measurements that take longer than a benchmark."""
