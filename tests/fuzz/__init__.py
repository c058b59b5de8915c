"""Random patterns and streams: is the kernel right, whatever way its input comes?"""
