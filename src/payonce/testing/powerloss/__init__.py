"""Simulated power loss under the SQLite store: a 202 that was answered survives every cut.

``disk`` says what is modelled and what not, ``inspection`` what must hold after a cut, ``campaign`` what is run."""

from .campaign import PowerReport, every_cut, run
from .disk import Disk, Image
from .vfs import Fault, FaultKind, Machine, powered

__all__ = ["Disk", "Fault", "FaultKind", "Image", "Machine", "PowerReport", "every_cut", "powered", "run"]
