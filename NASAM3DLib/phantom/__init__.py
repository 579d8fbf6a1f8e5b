"""Generated patients: pelvis and abdomen from analytic shapes, random by seed, with labels."""
