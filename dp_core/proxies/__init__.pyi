from .base import Proxy as Proxy
from .base import ProxyInputs as ProxyInputs
from .base import Reading as Reading
from .base import Stopwatch as Stopwatch
from .registry import PROXIES as PROXIES
from .truth import RealTraining as RealTraining
from .truth import TruthPlan as TruthPlan
