"""A pattern becomes a plan: one bit per distinct condition, edges over bits, all of it tables that a kernel can step.

    language.Pattern ──constructions──▶ fragments ──passes──▶ automaton ──plan──▶ arrays

An operator is one function, automaton in, automaton out; a pass is one function with a before and an after.
"""
