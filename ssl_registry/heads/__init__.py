"""Parts of networks that plugins reuse: classifiers, decoders, a teacher, a queue of negatives."""

from ssl_registry.heads.classifier import ClassifierHead, GlobalPoolClassifier
from ssl_registry.heads.decoder import DenseHead, UNetDecoder, decoder_of, matching_weights
from ssl_registry.heads.queue import NOBODY, Queue
from ssl_registry.heads.teacher import Teacher

__all__ = [
    "NOBODY",
    "ClassifierHead",
    "DenseHead",
    "GlobalPoolClassifier",
    "Queue",
    "Teacher",
    "UNetDecoder",
    "decoder_of",
    "matching_weights",
]
