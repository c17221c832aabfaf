"""How a model's files get here: from mirrors, hubs and package registries, resumed and checked."""
