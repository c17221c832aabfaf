"""Where the master key lives, and how it gets there, changes and moves.

record         files of the home: the key, or what leads to it     place       what a place must be able to do
file_place     the key in a file, mode 0600                        passphrase  from a file, a variable or a person
keyring_place  in the keyring of the system                        passphrase_place   wrapped by a key from a passphrase
home_key       the key of one home: open, make, rotate, move; a process may be killed at any step of it
"""
