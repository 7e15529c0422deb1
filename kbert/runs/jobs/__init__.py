# SPDX-License-Identifier: Apache-2.0
"""The tasks that a model can be fine-tuned for, as a run sees them."""

from kbert.runs.jobs.classification import ClassificationJob
from kbert.runs.jobs.multiple_choice import MultipleChoiceJob
from kbert.runs.jobs.regression import RegressionJob
from kbert.runs.jobs.summarization import SummarizationJob

JOBS = {
    "classification": ClassificationJob,
    "regression": RegressionJob,
    "multiple_choice": MultipleChoiceJob,
    "summarization": SummarizationJob,
}
