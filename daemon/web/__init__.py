"""The pages for radiologists and administrators, the API, and DICOMweb: one process of the service.

Nothing here imports machine learning, and nothing parses a DICOM object: what the pages say of an
image, the worker has written down when it read it.
"""
