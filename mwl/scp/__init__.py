"""What we provide: one module for each DICOM service class."""
