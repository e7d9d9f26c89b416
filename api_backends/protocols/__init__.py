"""Wire formats that several back ends speak, each translated once."""
