"""Questions to one's own documents: bases of documents, searched by words and by meaning, answered with citations.

library = Library("local")
base = library.create_base("Manuals")
document = library.add(base.id, "manual.pdf", data)     # read in the background, see `reading.start`
found = search(library, base.id, "How long is the warranty?")
"""
