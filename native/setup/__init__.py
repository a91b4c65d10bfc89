"""What install.py does, a file a step. Standard library only."""
