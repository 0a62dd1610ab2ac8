"""The .tcpkg file: data only, written atomically, verified before use."""
