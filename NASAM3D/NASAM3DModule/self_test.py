"""The module's own test, which Slicer runs as well."""

from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from NASAM3DModule.logic import NASAM3DLogic
from NASAM3DModule.parameters import Quality


class NASAM3DTest(ScriptedLoadableModuleTest):
    """The road from projections to a segment, with the real background process."""

    def test_road(self):
        """A cube in a block is simulated, reconstructed and clicked on."""
        import numpy as np

        from NASAM3DLib.reconstruct.simulate import simulate
        from NASAM3DLib.reconstruct.volume import Volume
        from NASAM3DLib.scan.grid import VolumeGrid
        from NASAM3DLib.scan.io import save_projections
        from NASAM3DLib.scan.presets import default_scan

        slicer.mrmlScene.Clear(0)
        grid = VolumeGrid.centred((24, 32, 32), 4.0)
        body = np.full(grid.shape_kji, -1000.0)
        body[:, 4:-4, 4:-4], body[9:15, 13:19, 13:19] = 0.0, 150.0
        scan = default_scan(grid, n_views=30, detector_shape=(32, 48))
        path = Path(slicer.app.temporaryPath) / "NASAM3DTest.npz"
        save_projections(simulate(Volume(body, grid, "HU"), scan), path, force=True)
        logic, results = NASAM3DLogic(), []
        parameters = logic.getParameterNode()
        parameters.projectionsPath, parameters.quality = str(path), Quality.PREVIEW
        logic.client.wait(logic.reconstruct(parameters, print, results.append))
        parameters.inputVolume = results.pop()
        logic.startPlacing(parameters)
        parameters.points.AddControlPoint(0.0, 0.0, 0.0)
        assert logic.segment(parameters, results.append, self.fail)
        while logic.client.is_busy:
            logic.client.poll()
        logic.client.close()
        assert 9 < results[0]["volume_ml"] < 20, "the inserted cube has 13.8 ml"
