"""The ComfyUI nodes of ComfyUI-ZOODiP."""
