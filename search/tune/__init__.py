"""All that knows the insides of Ray Tune."""
