"""nginx's configuration: what it is made of, and the rules over it."""
