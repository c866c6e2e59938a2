"""Maximum inner product search over item vectors, exact or with ScaNN, behind one interface."""
