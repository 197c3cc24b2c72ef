from .preparation import StudyPreparation as StudyPreparation
from .preparation import prepare_study as prepare_study
from .rows import with_tickets as with_tickets
from .run import advance as advance
from .run import recorded_design as recorded_design
from .run import write_outputs as write_outputs
from .sheets import prune_sheets as prune_sheets
from .status import study_status as study_status
