"""Reading traces: containers (gzip, plain), lines, records of every generation."""
