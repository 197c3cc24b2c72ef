"""Proxies: cheap scores of architectures, and the training on real data that they are judged by.

The recipe for a new one: a file here and a line in `registry.py`.
"""

from dp_core.proxies.base import Proxy, ProxyInputs, Reading, Stopwatch
from dp_core.proxies.registry import PROXIES
from dp_core.proxies.truth import RealTraining, TruthPlan

__all__ = ["PROXIES", "Proxy", "ProxyInputs", "Reading", "RealTraining", "Stopwatch", "TruthPlan"]
