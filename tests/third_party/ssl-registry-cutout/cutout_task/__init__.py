"""A box is cut out of the volume: what was there?"""
