"""ComfyUI-ZOODiP: teach Stable Diffusion a new word inside the graph.

ComfyUI imports this folder as a custom node package. Nothing is loaded before it asks.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The nodes of this package."""
    from .node.host_calls import warn_of_changes

    # First: where a change of ComfyUI's keeps the nodes from loading, the log has said which.
    warn_of_changes()
    from .node.extension import start

    return start()
