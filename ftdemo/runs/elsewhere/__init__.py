"""A recipe for other trainers: a folder with script or configuration, data and README that runs without ftdemo."""
