"""What a run found: ablation tables, synthetic-set statistics, and the formats that show them."""

from producer.report.build import Report, StageCount, build_report
from producer.report.formats import RENDERERS

__all__ = ["RENDERERS", "Report", "StageCount", "build_report"]
