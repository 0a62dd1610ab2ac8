"""Errors a user can meet. Each message says where, which values, which rule, and what to do."""

from __future__ import annotations


class TiercastError(Exception):
    """Anything Tiercast refuses to do; `str(error)` is meant for the user."""


class UsageError(TiercastError):
    """A wrong argument: unknown name, shape, dtype, target or option."""


class ModelError(TiercastError):
    """The user's model can't be read or compiled."""


class GraphError(ModelError):
    """A node breaks a rule of its operator or of the stage it stands in."""


class PackageError(TiercastError):
    """A .tcpkg can't be read, verified, bound, written or run."""


class ToolchainError(TiercastError):
    """A compiler, emulator or library that is needed is missing or failed."""


class VerifyError(TiercastError):
    """A package's outputs differ from its model's by more than the tolerance."""
