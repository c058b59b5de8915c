"""Plan × columns → matches. The state is flat arrays, stepped by compiled kernels; no Python runs per event.

A kernel's docstring states the layout of every array it touches. It either does the whole of an event or asks for room
before it has changed anything.
"""
