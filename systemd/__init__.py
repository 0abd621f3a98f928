"""The units for systemd, as data: ``dftindexd install-service`` writes them where they belong."""
