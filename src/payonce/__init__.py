"""payonce: one API in front of many payment providers; settles every accepted payment, never charges twice."""

__version__ = "0.1.0"
