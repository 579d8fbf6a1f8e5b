"""The parts of the Slicer module NASAM3D: Qt and MRML only; voxels are the library's business."""
