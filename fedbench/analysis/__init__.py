"""All that is made of results; nothing here trains.

``evidence`` reads runs or what was published of them; ``analyses`` takes it through the protocol (``statistics``) once;
``tables``, ``figures``, ``report``, ``paper`` show it, in words that ``verdicts`` allows; ``publishing`` keeps it.
"""
