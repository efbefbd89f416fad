"""The claims held against real modules, one file each; see `proofs.binding`."""
