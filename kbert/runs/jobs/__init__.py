# SPDX-License-Identifier: Apache-2.0
"""The tasks that a model can be fine-tuned for, as a run sees them."""

from kbert.runs.jobs.classification import ClassificationJob
from kbert.runs.jobs.multiple_choice import MultipleChoiceJob
from kbert.runs.jobs.question_answering import QuestionAnsweringJob
from kbert.runs.jobs.regression import RegressionJob
from kbert.runs.jobs.summarization import SummarizationJob
from kbert.runs.jobs.tagging import TaggingJob

JOBS = {
    "classification": ClassificationJob,
    "regression": RegressionJob,
    "tagging": TaggingJob,
    "question_answering": QuestionAnsweringJob,
    "multiple_choice": MultipleChoiceJob,
    "summarization": SummarizationJob,
}
