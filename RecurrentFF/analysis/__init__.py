"""Look at a trained network: records of its activity, numbers, pictures for a notebook, and a report of a run in one HTML file.

    from RecurrentFF import analysis

    samples = analysis.choose(network, (images, labels), 500)
    both = analysis.record_both(network, samples)  # under the true and under wrong labels
    analysis.plot_cancellation(both)
    analysis.write_report(network, (images, labels), "report.html")

The command `rff analyse RUN` writes the report of a run.
"""

from RecurrentFF.analysis.dynamics import plot_badness, plot_cancellation, plot_drives
from RecurrentFF.analysis.latent import latent_activity, neighbors_of_the_same_class, plot_map, project
from RecurrentFF.analysis.mistakes import Mistakes, mistakes, plot_confusion, plot_mistakes
from RecurrentFF.analysis.records import (
    Cancellation,
    Comparison,
    Curves,
    Sparsity,
    cancellation,
    drive_cosines,
    drive_norms,
    frame,
    record_both,
    sparsity,
)
from RecurrentFF.analysis.report import write_report
from RecurrentFF.analysis.samples import Run, Samples, choose, open_run, wrong_labels
from RecurrentFF.analysis.units import Fields, plot_receptive_fields, plot_sparsity, plot_weights, receptive_fields, weights

__all__ = [
    "Cancellation",
    "Comparison",
    "Curves",
    "Fields",
    "Mistakes",
    "Run",
    "Samples",
    "Sparsity",
    "cancellation",
    "choose",
    "drive_cosines",
    "drive_norms",
    "frame",
    "latent_activity",
    "mistakes",
    "neighbors_of_the_same_class",
    "open_run",
    "plot_badness",
    "plot_cancellation",
    "plot_confusion",
    "plot_drives",
    "plot_map",
    "plot_mistakes",
    "plot_receptive_fields",
    "plot_sparsity",
    "plot_weights",
    "project",
    "receptive_fields",
    "record_both",
    "sparsity",
    "weights",
    "write_report",
    "wrong_labels",
]
