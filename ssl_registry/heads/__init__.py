"""Parts of networks that plugins reuse: classifiers, decoders, a teacher, a queue of negatives."""

from ssl_registry.heads.classifier import ClassifierHead, GlobalPoolClassifier
from ssl_registry.heads.decoder import DenseHead, UNetDecoder, decoder_of, matching_weights
from ssl_registry.heads.dense_answers import check_dense
from ssl_registry.heads.identity import identify
from ssl_registry.heads.queue import NOBODY, Queue
from ssl_registry.heads.similarity import nt_xent, right_share, spread_of
from ssl_registry.heads.teacher import Teacher
from ssl_registry.normalisation import DecoderStyle, Norm, build_norm

__all__ = [
    "NOBODY",
    "ClassifierHead",
    "DecoderStyle",
    "DenseHead",
    "GlobalPoolClassifier",
    "Norm",
    "Queue",
    "Teacher",
    "UNetDecoder",
    "build_norm",
    "check_dense",
    "decoder_of",
    "identify",
    "matching_weights",
    "nt_xent",
    "right_share",
    "spread_of",
]
