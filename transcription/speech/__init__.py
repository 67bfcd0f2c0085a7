"""Audio in, transcript out. Knows no Django, no HTTP and no money.

`pipeline.run` is the whole journey; `probing.probe_in_child` is all that the web process needs of it.
Nothing heavy is imported here, so that importing one module loads only that module.
"""
