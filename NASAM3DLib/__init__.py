"""Sparse X-ray projections to an attenuation volume, a click to a segment.

The sub-packages follow the flow of the data, and each imports only from those above it:

``scan``        what was measured: geometry, projections, files, simulation
``phantom``     generated patients with known truth
``reconstruct`` projections to a :class:`~NASAM3DLib.reconstruct.volume.Volume`
``segment``     volume and prompts to a :class:`~NASAM3DLib.segment.mask.Mask`
``evaluate``    figures of merit, simulated clicks, tables and pictures
``worker``      the background process that a graphical program talks to

Importing this package loads nothing heavy; numba, torch and SimpleITK load where they are used.
"""

from __future__ import annotations

import os

# GNU OpenMP threads spin while they wait. On a busy machine the many short loops here then burn
# three times the CPU time that they need; the policy is read when the first OpenMP library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
