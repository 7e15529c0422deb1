# SPDX-License-Identifier: Apache-2.0
"""The tasks that a model can be fine-tuned for, as a run sees them."""

from kbert.runs.jobs.classification import ClassificationJob
from kbert.runs.jobs.question_answering import QuestionAnsweringJob
from kbert.runs.jobs.regression import RegressionJob

JOBS = {
    "classification": ClassificationJob,
    "regression": RegressionJob,
    "question_answering": QuestionAnsweringJob,
}
