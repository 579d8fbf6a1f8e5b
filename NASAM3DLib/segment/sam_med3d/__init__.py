"""SAM-Med3D: the promptable network, its weights' layout, and the engine that clicks drive."""
