"""What was measured: acquisition geometry, line integrals, files and simulated scans."""
