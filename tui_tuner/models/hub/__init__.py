"""Models on a hub and on this machine: search, description, download, and login.

There are two hubs, Hugging Face and ModelScope. Nothing here imports torch. A screen imports these modules
inside functions only, because the hub clients take a quarter of a second to import.
"""
