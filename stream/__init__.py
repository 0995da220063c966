"""Frames flow through: sources, queues, the segmenter stage, sinks, the command line."""
