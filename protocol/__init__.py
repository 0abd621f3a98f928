"""What travels between a client and the daemon: messages, framing, error codes, versions.

Nothing in this room does I/O and nothing in it knows how traces are indexed, so that the client
installs and imports without the daemon. ``docs/protocol.md`` describes the wire format.
"""
