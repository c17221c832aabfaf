"""What the headers of models' files say, read with suspicion, without loading anything."""
