"""Comparisons: plan, run, results, figures, report."""
