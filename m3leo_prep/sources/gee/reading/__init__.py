"""From images to values on a lattice: requests, composites, images in their own pixels."""
