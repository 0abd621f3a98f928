"""The RocksDB store: its layout, the registry of traces, SST artifacts, checked scans."""
