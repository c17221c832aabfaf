"""What is converted: files, folders and a hub's repositories."""
