"""The daemon: configuration, the command ``dftindexd``, the IPC server, systemd, logs."""
