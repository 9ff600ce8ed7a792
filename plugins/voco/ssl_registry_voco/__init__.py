"""Volume contrast (VoCo) for ssl-registry: in which parts of the scan does this crop lie?"""

__version__ = "0.1.0"
