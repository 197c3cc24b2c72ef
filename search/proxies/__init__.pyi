from .preparation import ProxyPreparation as ProxyPreparation
from .preparation import prepare_proxies as prepare_proxies
from .run import advance as advance
from .run import plan_of as plan_of
from .run import refuse_unanswered as refuse_unanswered
from .run import rewrite_outputs as rewrite_outputs
from .run import table_digest as table_digest
from .status import proxies_status as proxies_status
