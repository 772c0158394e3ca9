"""ballbook: an executable evidence book for B-cell acute lymphoblastic leukaemia."""

__version__ = "0.1.0"
