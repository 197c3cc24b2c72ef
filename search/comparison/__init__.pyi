from .preparation import ComparisonPreparation as ComparisonPreparation
from .preparation import prepare_comparison as prepare_comparison
from .rows import with_tickets as with_tickets
from .run import advance as advance
from .run import recorded_design as recorded_design
from .run import write_outputs as write_outputs
from .sheets import prune_sheets as prune_sheets
from .status import comparison_status as comparison_status
