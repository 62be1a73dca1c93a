"""Models on a hub and on this machine: looking for one, what it is, fetching it, and who is logged in.

Knows two hubs, Hugging Face and ModelScope, and no torch. A screen imports names from the modules here only
inside functions: the clients of the hubs take a quarter of a second.
"""
