"""The expected time and memory follow the measured laws and this machine's speed."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct import estimate
from NASAM3DLib.reconstruct.estimate import (
    ScanSize,
    estimate_cost,
    measure_speed,
    memory_of_machine,
)
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Method, Quality, ReconstructionSettings
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet

SIZE = ScanSize(50, (256, 256), (128, 128, 128))
MIB = 2**20


def seconds(size: ScanSize = SIZE, method: Method = "tv", quality: Quality = "standard") -> float:
    """Estimated time with the speed of the measurement."""
    found = estimate_cost(size, ReconstructionSettings(method, quality)).seconds
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("method", "quality", "size", "measured_s"),
    [
        ("fdk", "standard", (128, 50, 256), 1.01),
        ("tv", "preview", (96, 20, 512), 4.12),
        ("tv", "standard", (64, 100, 128), 3.29),
        ("tv", "best", (96, 50, 256), 32.1),
        ("field", "standard", (96, 20, 128), 14.85),
        ("field", "best", (64, 20, 128), 22.85),
    ],
)
def test_the_laws_give_what_was_measured(
    method: Method, quality: Quality, size: tuple[int, int, int], measured_s: float
) -> None:
    voxels, views, pixels = size
    scan = ScanSize(views, (pixels, pixels), (voxels,) * 3)
    assert seconds(scan, method, quality) == pytest.approx(measured_s, rel=0.15)


def test_time_is_proportional_to_views_and_to_the_inverse_of_speed() -> None:
    start_s = estimate.CPU_LAWS["tv", "standard"][0]
    doubled = seconds(replace(SIZE, n_views=100))
    assert doubled - start_s == pytest.approx(2 * (seconds() - start_s))
    faster = estimate_cost(SIZE, ReconstructionSettings(), speed=4.0)
    assert faster.seconds == pytest.approx(seconds() / 4)


def test_a_better_quality_takes_longer() -> None:
    times = [seconds(quality=quality) for quality in ("preview", "standard", "best")]
    assert times == sorted(times)
    assert seconds(method="fdk") < times[0]
    assert seconds(method="field") > times[1]
    map_of = estimate_cost(SIZE, ReconstructionSettings(uncertainty=True)).seconds
    assert map_of == pytest.approx(1.7 * times[1])


def test_nothing_is_claimed_where_nothing_was_measured() -> None:
    assert estimate_cost(SIZE, device="cuda").seconds is None
    assert estimate_cost(SIZE, ReconstructionSettings("naf")).seconds is None
    assert estimate_cost(SIZE, ReconstructionSettings("naf")).peak_bytes > 500 * MIB


@pytest.mark.parametrize(
    ("quality", "size", "measured_mib"),
    [
        ("standard", (256, 50, 256), 654),
        ("standard", (128, 50, 512), 292),
        ("best", (128, 50, 256), 646),
        ("best", (96, 25, 128), 358),
    ],
)
def test_memory_suffices_without_frightening(
    quality: Quality, size: tuple[int, int, int], measured_mib: float
) -> None:
    voxels, views, pixels = size
    scan = ScanSize(views, (pixels, pixels), (voxels,) * 3)
    peak_mib = estimate_cost(scan, ReconstructionSettings("tv", quality)).peak_bytes / MIB
    assert measured_mib <= peak_mib * 1.05 < 1.8 * measured_mib


def test_a_volume_that_is_too_large_to_refine_takes_the_memory_of_the_standard() -> None:
    huge = replace(SIZE, shape_kji=(400, 400, 400))
    standard, best = (
        estimate_cost(huge, ReconstructionSettings("tv", quality)).peak_bytes
        for quality in ("standard", "best")
    )
    assert best == standard


@pytest.mark.parametrize(
    ("views", "detector", "shape"),
    [(0, (2, 2), (2, 2, 2)), (1, (2,), (2, 2, 2)), (1, (2, 2), (2, 0, 2)), (1, (2, 2), (2, 2))],
)
def test_sizes_that_are_none_are_refused(
    views: int, detector: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="positive number of views, rows, columns and voxels"):
        ScanSize(views, detector, shape)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed of a machine must be positive"):
        estimate_cost(SIZE, speed=speed)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_this_machine_is_what_the_system_says() -> None:
    total, free = memory_of_machine()
    assert total is not None
    assert free is not None
    assert 0 < free < total
    assert total == pytest.approx(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), rel=0.1)


def test_the_timing_of_this_machine_foretells_a_reconstruction() -> None:
    geometry = ConeBeamGeometry.circular(
        CircularOrbit(np.arange(30) * 2 * np.pi / 30, (4.0, 4.0), 1000.0, 1500.0), (128, 128)
    )
    grid = VolumeGrid.centred((64, 64, 64), 3.8)
    k, j, i = np.indices(grid.shape_kji) - 31.5
    ball = np.where(k**2 + j**2 + i**2 < 24**2, np.float32(0.02), np.float32(0))
    scan = ProjectionSet(Projector(grid, geometry).forward(np.asfortranarray(ball)), geometry)
    settings = ReconstructionSettings("tv", "preview")
    reconstruct(scan, grid, settings)
    speed = measure_speed()
    begin = time.perf_counter()
    reconstruct(scan, grid, settings)
    taken_s = time.perf_counter() - begin
    size = ScanSize(30, geometry.detector_shape, grid.shape_kji)
    expected_s = estimate_cost(size, settings, speed=speed).seconds
    assert expected_s is not None
    # Other work on the machine disturbs both timings, hence the wide margin.
    assert taken_s / 8 < expected_s < taken_s * 8
