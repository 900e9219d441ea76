"""Estimates before training: parameters, memory, throughput, time and cost."""
