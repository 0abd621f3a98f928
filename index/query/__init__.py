"""Answers from a store: the filter language, aggregation rows as Arrow, grouping."""
