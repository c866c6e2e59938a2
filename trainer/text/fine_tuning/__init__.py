"""Training the text encoder together with the towers."""
