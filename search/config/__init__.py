"""What a user may write in a config file, and how it is read and checked."""
