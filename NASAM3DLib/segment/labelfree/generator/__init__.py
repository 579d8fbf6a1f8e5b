"""Training volumes out of random numbers: shapes, densities, acquisition. Nobody's images."""
