"""How others keep their books on the same memory: the memory models of Linux beside Xen's."""
