"""Joint optimisation: the mask guides the reconstruction, the reconstruction guides the mask.

The attenuation x lives on voxels half as large as the wanted ones, which are cut at the edges that
run through them (``cutting``). Rounds alternate between

(a) steps towards the minimum over ``x >= 0`` of ::

        E(x; xi) = 1/2 ||A x - p||_W^2 + W sum over voxels of |(1 - xi xi^T) D x|,

    total variation that charges changes along the surfaces xi only (``directional``), and
(b) segmentation of x from the same clicks; its probability and the edges of x give the next xi
    (``guide``).

For a fixed xi, E is convex; its data term has the gradient ``A^T W (A x - p)``, the other term is
handled by its proximal step, whose dual has the gradient ``-(1 - xi xi^T) D x``. The first round
has xi = 0 and is plain total variation.

Region terms that pull the voxels towards local means inside and outside of the mask, and weaker
total variation at the boundary, which Mumford and Shah's functional suggests, were measured and are
worse than nothing; figures in docs/joint.md.

A referee does the same without some of the views first and has these judge (``referee``): by the
rays past the object's surface, weighted by their length near it, and by all rays. The last round
that predicts them as well as any is where the refinement ends (``refinement``), and if none is
surely better, volume and mask from before are returned. The mask is changed only where the later
one is surer and the refined volume agrees with it (``choice``). ``energy`` gives the energy of a
segmentation as a differentiable function of an attenuation field.
"""
