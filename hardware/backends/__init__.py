"""What runs models: one module for each kind of device, all with the interface of `base`."""
