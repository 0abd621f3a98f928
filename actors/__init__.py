"""The small actor framework, and one module for each actor of the daemon.

The framework is ``exit_status``, ``errors``, ``mailbox``, ``actor`` and ``supervisor``; it knows
nothing of indexing. An actor owns its state alone and is spoken to through its mailbox only. All of
it lives on one event loop: nothing here may be called from another thread.
"""
