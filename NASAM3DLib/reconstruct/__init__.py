"""From line integrals to an attenuation volume."""
