"""Views in SQL: sets of rows over a store, made just in time, and the session that asks them."""
