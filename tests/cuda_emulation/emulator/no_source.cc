// Gives a library of kernels a source while it has no kernel yet.
