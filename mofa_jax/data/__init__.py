"""From photographs to batches, in five packages; each imports only from those before it.

sources (files and videos, read), faces (found and cut out), corpora (crops on disk), synthetic
(rendered faces instead) and feeds (batches on the devices).
"""
