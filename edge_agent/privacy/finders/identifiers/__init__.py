"""Numbers that states and makers give to people and things, known by how they are grouped and by their check digits."""
