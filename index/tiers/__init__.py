"""What is derived from a trace's records, one module a tier, each as rows of the store."""
